"""Traces of events for ui.perfetto.dev: what is shown (``events``), and the two formats it is written in."""

"""What comes out: frames in one documented schema, tables, plots, traces, error statistics.

Imports none of the other packages: what is shown here are plain records, frames and events.
"""

"""What comes out: frames in one documented schema, questions asked of them, tables, pictures, reports, traces.

Imports none of the other packages, which ask it for what all share: the root of errors and the words. What is shown
here are plain records, frames and events: pandas in, pandas out.
"""

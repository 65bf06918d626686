"""Tile programs shipped with the simulator: each is its text, an example of its sizes, and NumPy's own answer."""

"""Matrix products on a GPU.

price.py  what a kernel takes, and the clock that the power limit allows
tiles.py  the tile shapes among which a library chooses
"""

"""Matrix products on a GPU.

price.py    what a call of the library takes, and the clock that the power limit allows
kernels.py  what each of its kernels takes, and the fastest of them
tiles.py    the tile shapes among which a library chooses
"""

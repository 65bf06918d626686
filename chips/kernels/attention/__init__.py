"""Attention kernels on a GPU: prefill, decode, backward.

price.py    what a kernel takes
kernels.py  which published kernel runs, and what it is
plan.py     how it cuts a call: tiles, splits of the keys
tiles.py    a thread block's tile of queries and keys, and its engines
backward.py the same of the backward pass
shape.py    sizes that broadcast against each other
"""

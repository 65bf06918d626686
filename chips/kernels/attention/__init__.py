"""Attention kernels on a GPU: prefill, decode, backward.

price.py  what a kernel takes
plan.py   what the library picks: tiles, splits of the keys
tiles.py  a thread block's tile of queries and keys, and its engines
shape.py  sizes that broadcast against each other
"""

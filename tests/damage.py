"""What happens to files: a bit, a byte or four bytes that differ, an end that is cut off, a page of zeros."""

from __future__ import annotations

from random import Random


def damaged(whole: bytes, random: Random) -> bytes:
    """``whole`` with one damage of a random kind at a random place; never ``whole`` itself."""
    data, at = bytearray(whole), random.randrange(len(whole))
    kind = random.choice(("bit", "byte", "four bytes", "cut", "zeros", "doubled"))
    if kind == "bit":
        data[at] ^= 1 << random.randrange(8)
    elif kind == "byte":
        data[at] ^= random.randrange(1, 256)
    elif kind == "four bytes":
        data[at : at + 4] = bytes(byte ^ random.randrange(1, 256) for byte in data[at : at + 4])
    elif kind == "cut":
        del data[at:]
    elif kind == "zeros":
        data[at : at + 4096] = bytes(len(data[at : at + 4096]))
    else:
        data[at:at] = data[at : at + 64]
    return bytes(data) if data != whole else damaged(whole, random)

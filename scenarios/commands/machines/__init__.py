"""Commands that look inside of a machine: bandwidth, roofline, training, collectives, placement, tiles, arrays."""

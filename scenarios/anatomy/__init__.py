"""What lies inside of a priced point: its trace, HBM traffic and power, rooflines of operators, place on a chip."""

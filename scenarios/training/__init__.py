"""A training step of many chips: what its stages do, on a clock of their own."""

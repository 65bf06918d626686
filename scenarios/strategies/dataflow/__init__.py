"""Strategies on dataflow chips: operators as stages, and the mappings of a fused decoder."""

"""One chip: its datasheet, its clock, its kernels. Imports nothing of the other packages but the root of all errors."""

from chips.spec import CatalogError, Dataflow, Gpu, Systolic, chip_names, load_chip

__all__ = ["CatalogError", "Dataflow", "Gpu", "Systolic", "chip_names", "load_chip"]

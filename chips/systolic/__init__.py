"""Systolic arrays: the array clock by clock, and Google's first TPU whole, held against its paper's applications.

array.py         a product walking through an array: what every element holds at every clock
idle_elements.py why elements of an array are idle, in sentences
tpu_v1.py        TPU v1: its instructions as tasks on engines
applications.py  the six applications of its paper (``applications.toml``)
"""

from chips.systolic.applications import APPLICATIONS, Application, Layer, Performance, run
from chips.systolic.tpu_v1 import Machine

__all__ = ["APPLICATIONS", "Application", "Layer", "Machine", "Performance", "run"]

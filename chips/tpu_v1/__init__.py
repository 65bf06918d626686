"""Google's first TPU, whole: its instructions as tasks on engines, and the six applications of its paper."""

from chips.tpu_v1.applications import APPLICATIONS, Application, Layer, Performance, run
from chips.tpu_v1.machine import Machine

__all__ = ["APPLICATIONS", "Application", "Layer", "Machine", "Performance", "run"]

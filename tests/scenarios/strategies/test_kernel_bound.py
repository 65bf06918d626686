"""No kernel beats its physical bound: one that would is an internal error, not a price."""

from __future__ import annotations

import numpy as np
import pytest

from chips.kernels.kernel_time import MATRIX_UNIT, KernelTime
from chips.spec import load_chip
from cluster import Cluster
from results.schema import PhysicsError
from scenarios.framework import default_framework
from scenarios.strategies.gpu.kernel_prices import GpuGroup
from scenarios.workload.operators import MatrixProduct


class Impossible(GpuGroup):
    """A group on which every product takes a microsecond."""

    def kernel_time(self, operator):
        real = super().kernel_time(operator)
        return KernelTime(
            np.asarray(1e-6), np.asarray(0.0), np.asarray(0.0), real.bound_seconds, np.asarray(MATRIX_UNIT), real.joules
        )


def test_a_kernel_under_its_bound_names_the_bound():
    chip = load_chip("h100")
    framework = default_framework("decode", None)
    product = MatrixProduct("up", 8192, 8192, 8192, "bf16")
    group = Impossible(chip, Cluster(chip, 1), framework)
    with pytest.raises(PhysicsError, match=r"a kernel of matmul takes 1e-06 s, below .* bound, .* of 0\.00102707"):
        group.price(product)
    assert GpuGroup(chip, Cluster(chip, 1), framework).price(product)

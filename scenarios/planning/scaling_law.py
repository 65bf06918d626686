"""Scaling laws: what a compute budget buys in model size, tokens and loss, and what a loss costs.

A law says at which loss (nats a token, of its authors' data and tokenizer) a model of so many parameters ends after so
many tokens, where compute is 6 FLOPs a parameter and token. Constants are as published; what a training takes on a
cluster is in ``scenarios.planning.budget``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from scenarios.errors import ScenarioError

FLOPS_PER_PARAMETER_TOKEN = 6.0  # two forward, four backward
PETAFLOP_DAY = 1e15 * 86400.0
LEAST_COMPUTE, MOST_COMPUTE = 1e15, 1e40


class Training(NamedTuple):
    """The best training for a budget: FLOPs, parameters, tokens, and the loss that it ends at."""

    compute: float
    parameters: float
    tokens: float
    loss: float


@dataclass(frozen=True)
class ParametricLaw:
    """loss = irreducible + A / parameters^alpha + B / tokens^beta (Hoffmann et al. 2022, arXiv 2203.15556, eq. 2).

    At a given compute it is least where a parameter more gains what the tokens that it costs lose.
    """

    name: str
    irreducible: float
    """nats a token that no compute goes below"""
    size_scale: float
    """A"""
    size_exponent: float
    """alpha"""
    token_scale: float
    """B"""
    token_exponent: float
    """beta"""

    def loss(self, parameters: float, tokens: float) -> float:
        """What a model of so many parameters ends at after so many tokens."""
        of_size = self.size_scale * parameters**-self.size_exponent
        of_tokens = self.token_scale * tokens**-self.token_exponent
        return float(self.irreducible + of_size + of_tokens)

    def for_compute(self, compute: float) -> Training:
        """The best split of ``compute`` FLOPs into parameters and tokens."""
        products = compute / FLOPS_PER_PARAMETER_TOKEN
        both = self.size_exponent + self.token_exponent
        parameters = self._balance * products ** (self.token_exponent / both)
        tokens = products / parameters
        return Training(compute, parameters, tokens, self.loss(parameters, tokens))

    def for_loss(self, loss: float) -> Training:
        """The least compute that ends at ``loss``. Raises ScenarioError where none does."""
        _check(self, loss)
        alpha, beta = self.size_exponent, self.token_exponent
        # Of the best split both terms fall with the same power of compute.
        above = self.size_scale / self._balance**alpha + self.token_scale * self._balance**beta
        products = (above / (loss - self.irreducible)) ** ((alpha + beta) / (alpha * beta))
        return self.for_compute(FLOPS_PER_PARAMETER_TOKEN * products)

    @property
    def _balance(self) -> float:
        """Parameters of the best split of one product of a parameter and a token."""
        alpha, beta = self.size_exponent, self.token_exponent
        return float((alpha * self.size_scale / (beta * self.token_scale)) ** (1 / (alpha + beta)))


@dataclass(frozen=True)
class PowerLaw:
    """loss = (scale / compute)^exponent and parameters = size_scale x compute^size_exponent, compute in PF-days.

    Kaplan et al. 2020, arXiv 2001.08361: training that ends before it has converged, on what compute is left of tokens.
    """

    name: str
    scale: float
    exponent: float
    size_scale: float
    size_exponent: float
    irreducible: float = 0.0

    def for_compute(self, compute: float) -> Training:
        """What ``compute`` FLOPs are best spent on."""
        days = compute / PETAFLOP_DAY
        parameters = self.size_scale * days**self.size_exponent
        tokens = compute / (FLOPS_PER_PARAMETER_TOKEN * parameters)
        return Training(compute, parameters, tokens, (self.scale / days) ** self.exponent)

    def for_loss(self, loss: float) -> Training:
        """The least compute that ends at ``loss``. Raises ScenarioError where none does."""
        _check(self, loss)
        return self.for_compute(PETAFLOP_DAY * self.scale / loss ** (1 / self.exponent))


Law = ParametricLaw | PowerLaw
LAWS: dict[str, Law] = {
    # Besiroglu et al. 2024, arXiv 2404.10102: the fit of Hoffmann et al. to their own data, corrected
    "chinchilla": ParametricLaw("chinchilla", 1.8172, 482.01, 0.3478, 2085.43, 0.3658),
    # Hoffmann et al. 2022, arXiv 2203.15556, approach 3, as printed
    "chinchilla-2022": ParametricLaw("chinchilla-2022", 1.69, 406.4, 0.34, 410.7, 0.28),
    # Kaplan et al. 2020, arXiv 2001.08361: L(C_min), and N_opt of table 6 [recalled]
    "kaplan": PowerLaw("kaplan", 3.1e8, 0.050, 1.3e9, 0.73),
}


def law_named(name: str) -> Law:
    """One of ``LAWS``. Raises ScenarioError."""
    if name not in LAWS:
        raise ScenarioError(f"--law '{name}' is unknown; expected one of {', '.join(LAWS)}.")
    return LAWS[name]


def check_compute(compute: float) -> None:
    """Raise ScenarioError for what is no number of FLOPs that a training takes."""
    if not LEAST_COMPUTE <= compute <= MOST_COMPUTE:
        raise ScenarioError(f"--compute is {compute:g}; expected FLOPs from {LEAST_COMPUTE:g} to {MOST_COMPUTE:g}.")


def _check(law: Law, loss: float) -> None:
    """Raise ScenarioError for a loss that no training ends at by this law, or none worth the name."""
    if not loss > law.irreducible:
        raise ScenarioError(
            f"--loss is {loss:g}; by the law '{law.name}' no compute goes below {law.irreducible:g} nats a token: "
            "expected more than that."
        )
    most, least = (law.for_compute(compute).loss for compute in (LEAST_COMPUTE, MOST_COMPUTE))
    if not least <= loss <= most:
        raise ScenarioError(
            f"--loss is {loss:g}; by the law '{law.name}' trainings of {LEAST_COMPUTE:g} to {MOST_COMPUTE:g} FLOPs end "
            f"between {most:.3f} and {least:.5g} nats a token."
        )

"""What tokens cost in money: chips by the hour and electricity by the kilowatt hour, at prices that the user says.

Columns of a frame beside its schema. A price that somebody rents at holds electricity already; then say 0 for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from chips.catalog_file import validate
from chips.changes import read_name
from results.text_file import read_toml
from scenarios.errors import ScenarioError

if TYPE_CHECKING:
    import pandas as pd

PRICES = Path(__file__).parent / "prices.toml"
MOST = 1e6
SECONDS_AN_HOUR = 3600.0
TOKENS = 1e6
Amount = TypeVar("Amount", float, "pd.Series")
Price = Annotated[float, Field(ge=0, le=MOST)]


class PriceList(BaseModel):
    """US dollars: of a kilowatt hour, and of an hour of each chip that has a published price."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kilowatt_hour: Price
    chip_hour: dict[str, Price]

    def dollars(self, chip: str, count: int, seconds: float, joules: float) -> float:
        """Of so many chips for so long, and of their electricity."""
        rent, electricity = self.parts(self.chip_hour[chip], count, seconds, joules)
        return rent + electricity

    def parts(self, hour: Amount, count: Amount, seconds: Amount, joules: Amount) -> tuple[Amount, Amount]:
        """Of chips, each at so much an ``hour``, and of their electricity; of one point, or of many side by side."""
        return count * hour * seconds / SECONDS_AN_HOUR, joules / (1e3 * SECONDS_AN_HOUR) * self.kilowatt_hour


@cache
def prices() -> PriceList:
    """The shipped list. Raises CatalogError where it is not readable."""
    return validate(PriceList, read_toml(PRICES), PRICES)


def paid_prices(
    chips: Iterable[str], dollars_per_chip_hour: float | None, dollars_per_kilowatt_hour: float | None
) -> PriceList:
    """What an hour of each of ``chips`` and a kilowatt hour cost: what is said, else as listed, changed or not.

    Raises ScenarioError for a price below 0, or a chip whose price nobody says.
    """
    listed = prices()
    for option, price in (
        ("--dollars-per-chip-hour", dollars_per_chip_hour),
        ("--dollars-per-kilowatt-hour", dollars_per_kilowatt_hour),
    ):
        if price is not None and not 0 <= price <= MOST:
            raise ScenarioError(f"{option} is {price:g}; expected US dollars from 0 to {MOST:g}.")
    hours = {name: listed.chip_hour.get(read_name(name).base) for name in chips}
    unknown = [name for name, hour in hours.items() if hour is None]
    if dollars_per_chip_hour is None and unknown:
        raise ScenarioError(f"no price of an hour of {unknown[0]} is known; say it: --dollars-per-chip-hour 3.50.")
    if dollars_per_chip_hour is not None:
        hours = dict.fromkeys(hours, dollars_per_chip_hour)
    electricity = listed.kilowatt_hour if dollars_per_kilowatt_hour is None else dollars_per_kilowatt_hour
    return PriceList(kilowatt_hour=electricity, chip_hour=hours)


def with_cost(
    results: pd.DataFrame, *, dollars_per_chip_hour: float | None = None, dollars_per_kilowatt_hour: float | None = None
) -> pd.DataFrame:
    """The frame with ``chip_cost``, ``energy_cost`` and their sum ``cost``, US dollars per million tokens.

    ``dollars_per_chip_hour``, ``dollars_per_kilowatt_hour``: by default those of ``prices``. All chips of a point are
    paid for, those too that have failed. Raises what ``paid_prices`` does.
    """
    return cost_of(results, paid_prices(results["chip"].unique(), dollars_per_chip_hour, dollars_per_kilowatt_hour))


def cost_of(results: pd.DataFrame, paid: PriceList) -> pd.DataFrame:
    """The same at prices that are known."""
    import numpy as np

    hour = results["chip"].map(paid.chip_hour)
    tokens = results["joules"] * results["tokens_per_joule"]  # of the whole batch, in ``seconds``
    with np.errstate(invalid="ignore"):
        spent = paid.parts(hour, results["count"], results["seconds"], results["joules"])
        rent, electricity = (part / tokens * TOKENS for part in spent)
    return results.assign(chip_cost=rent, energy_cost=electricity, cost=rent + electricity)

"""``loopline tpu-v1``: the six applications of the TPU v1 paper on the machine, beside what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scenarios.commands.output import Json, show

if TYPE_CHECKING:
    from chips.systolic import Application, Performance

COUNTERS = ("active", "useful", "weight_stall", "weight_shift", "non_matrix")


def tpu_v1(json: Json = False) -> None:
    """TPU v1 whole: TOPS and clocks of the array for the six applications of its paper, beside the measured ones.

    loopline tpu-v1
    """
    from chips.spec import Systolic, load_chip
    from chips.systolic import APPLICATIONS, run

    chip = load_chip("tpu-v1")
    assert isinstance(chip, Systolic)
    found = {name: run(application, chip) for name, application in APPLICATIONS.items()}
    if json:
        show([_record(name, application, found[name]) for name, application in APPLICATIONS.items()], json=True)
        return
    print("TOPS\n")
    show([_speed(name, application, found[name]) for name, application in APPLICATIONS.items()], json=False)
    print("\nThe array's clocks, % here / % published (useful is part of active; the other four sum to 100)\n")
    show([_clocks(name, application, found[name]) for name, application in APPLICATIONS.items()], json=False)
    print(
        "\nPublished: Jouppi et al. 2017, tables 1 and 3. Shapes of layers are assumed: "
        "chips/systolic/applications.toml."
    )


def _speed(name: str, application: Application, found: Performance) -> dict[str, object]:
    published = application.published
    return {
        "application": name,
        "TOPS": f"{found.tops:.1f}",
        "published": f"{published.tops:.1f}",
        "error": f"{found.tops / published.tops - 1:+.1%}",
        "weights": f"{application.weights / 1e6:.1f} M",
        "MAC/weight_byte": f"{application.multiplies / application.weights:.0f}",
        "batch": application.batch,
        "ms/batch": f"{found.seconds_per_batch * 1e3:.3f}",
    }


def _clocks(name: str, application: Application, found: Performance) -> dict[str, object]:
    return {
        "application": name,
        **{
            counter: f"{100 * getattr(found, counter):.1f} / {getattr(application.published, counter):.1f}"
            for counter in COUNTERS
        },
    }


def _record(name: str, application: Application, found: Performance) -> dict[str, object]:
    return {
        "application": name,
        "batch": application.batch,
        "weights": application.weights,
        "multiplies_per_weight_byte": application.multiplies / application.weights,
        "seconds_per_batch": found.seconds_per_batch,
        "unified_buffer_bytes": found.unified_buffer_bytes,
        "tops": found.tops,
        "published_tops": application.published.tops,
        **{counter: getattr(found, counter) for counter in COUNTERS},
        **{f"published_{counter}": getattr(application.published, counter) / 100 for counter in COUNTERS},
    }

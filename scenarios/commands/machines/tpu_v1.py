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
    print("\nPower and energy; published: 40 W busy, 28 W idle\n")
    show([_energy(name, application, found[name]) for name, application in APPLICATIONS.items()], json=False)
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


def _energy(name: str, application: Application, found: Performance) -> dict[str, object]:
    joules = sum(found.joules.values())
    return {
        "application": name,
        "W": f"{found.watts:.1f}",
        "TOPS/W": f"{found.tops / found.watts:.2f}",
        "mJ/batch": f"{joules * 1e3:.2f}",
        "pJ/operation": f"{joules / (2.0 * application.multiplies) * 1e12:.2f}",
        **{f"{cause}_%": f"{100 * each / joules:.1f}" for cause, each in found.joules.items() if each},
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
        "watts": found.watts,
        **{f"{cause}_j": each for cause, each in found.joules.items()},
        **{counter: getattr(found, counter) for counter in COUNTERS},
        **{f"published_{counter}": getattr(application.published, counter) / 100 for counter in COUNTERS},
    }

"""What a person says about the columns of a table of runs."""

from dataclasses import dataclass
from typing import Literal

Unit = Literal["auto", "percent", "fraction"]


@dataclass(frozen=True)
class Asked:
    """Which column is what, as far as a person said so. None and empty are guessed, or there is none.

    Attributes:
        setup: Columns whose combinations are owed an answer each.
        tuned: Columns that may be chosen anew for each temperature, such as the learning rate.
        temperature: The temperature.
        metric: The accuracy that runs are compared by.
        seed: What tells replicates apart.
        ignore: Columns in which runs may differ without a say.
        unit: Whether accuracies are percentages.
    """

    setup: tuple[str, ...] = ()
    tuned: tuple[str, ...] | None = None
    temperature: str | None = None
    metric: str | None = None
    seed: str | None = None
    ignore: tuple[str, ...] = ()
    unit: Unit = "auto"

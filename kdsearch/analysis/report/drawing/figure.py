"""What a drawn figure consists of: cards or rows, and a key."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from kdsearch.analysis.report.figures.document import Key


@dataclass(frozen=True)
class Card:
    """One plot under its title.

    `label` says in words what is to be seen.
    """

    title: str
    subtitle: str
    svg: Markup
    label: str


@dataclass(frozen=True)
class Strip:
    """One row: a name, a strip as wide as the page allows, and its numbers in words."""

    name: str
    svg: Markup
    text: str


@dataclass(frozen=True)
class Drawing:
    """A figure.

    Attributes:
        title: Its heading.
        cards: Small multiples.
        strips: Rows above a common axis.
        axis: The axis below the strips.
        axis_name: What that axis shows.
        keys: What the marks mean.
        columns: How many cards are side by side where there is room.
    """

    title: str
    cards: Sequence[Card] = ()
    strips: Sequence[Strip] = ()
    axis: Markup | None = None
    axis_name: str = ""
    keys: Sequence[Key] = field(default_factory=tuple)
    columns: int = 3

"""What a figure on a page consists of: cards with a plot each, or rows with a strip each, and a key."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup


@dataclass(frozen=True)
class Card:
    """One plot under its title; `label` says in words what is to be seen."""

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
class Key:
    """One entry of a legend: the look is the name of a CSS class, or a colour beside it."""

    look: str
    text: str
    color: str | None = None


@dataclass(frozen=True)
class Drawing:
    """A figure.

    Attributes:
        cards: Small multiples.
        strips: Rows above a common axis.
        axis: The axis below the strips.
        keys: What the marks mean.
        columns: How many cards are side by side where there is room.
    """

    cards: Sequence[Card] = ()
    strips: Sequence[Strip] = ()
    axis: Markup | None = None
    keys: Sequence[Key] = field(default_factory=tuple)
    columns: int = 3

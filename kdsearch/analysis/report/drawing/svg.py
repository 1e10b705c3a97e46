"""SVG elements as text; every value is escaped, coordinates have one decimal."""

from collections.abc import Iterable, Sequence
from typing import Any

from markupsafe import Markup, escape


def tag(name: str, *content: str, **attributes: Any) -> Markup:
    """Return an element of a drawing.

    `_` in an attribute's name is `-`, a trailing one is dropped.

    Args:
        name: The element's.
        content: What is inside; texts are escaped, elements are not.
        attributes: Numbers are written short; None leaves the attribute out.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_short(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = "".join(map(escape, content))
    return Markup(f"<{name}{given}>{inside}</{name}>" if inside else f"<{name}{given}/>")  # noqa: S704


def group(elements: Iterable[str], **attributes: Any) -> Markup:
    """Return elements as one group."""
    return tag("g", *elements, **attributes)


def line_path(xs: Sequence[float], ys: Sequence[float]) -> str:
    """Return the path through points."""
    return "M" + "L".join(f"{_short(x)},{_short(y)}" for x, y in zip(xs, ys, strict=True))


def share(fraction: float) -> str:
    """Return a place as a percentage of the width."""
    return f"{100 * fraction:.4g}%"


def _short(value: Any) -> Any:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else value

"""From values to HTML: the templates, the style, and figures as JSON that a page's script draws."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import plotly
import plotly.graph_objects as go
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from kdsearch.analysis.report.figure_layout import CONFIG

TEMPLATES = Path(__file__).parent / "templates"
PLOTLY_JS = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
PLOTLY_VERSION: str = plotly.__version__


@cache
def page_templates(*packages: str) -> Environment:
    """Return the templates of packages, and ours behind them; every value is escaped."""
    loaders = [PackageLoader(package) for package in (*packages, "kdsearch.analysis.report")]
    environment = Environment(
        loader=ChoiceLoader(loaders), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["figure_json"] = figure_json
    return environment


def figure_json(figure: go.Figure) -> Markup:
    """Return a figure as JSON that may stand inside a script element.

    Numbers are rounded to six digits, and no character in it could end the element.
    """
    document = json.loads(figure.to_json(), parse_float=_six_digits)
    text = json.dumps({**document, "config": CONFIG}, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - escaped for a script element above


def _six_digits(text: str) -> Any:
    return float(f"{float(text):.6g}")

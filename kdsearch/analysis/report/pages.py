"""From values to HTML: the templates and the style that pages and reports share."""

import re
from functools import cache
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

TEMPLATES = Path(__file__).parent / "templates"
_CODE = re.compile(r"`([^`]+)`")


@cache
def page_templates(*packages: str) -> Environment:
    """Return the templates of packages, and ours behind them. Every value is escaped."""
    loaders = [PackageLoader(package) for package in (*packages, "kdsearch.analysis.report")]
    environment = Environment(
        loader=ChoiceLoader(loaders), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["code"] = marked_code
    return environment


def marked_code(text: str) -> Markup:
    """Return a sentence with what stands between backticks as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped here

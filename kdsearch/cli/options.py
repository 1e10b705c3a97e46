"""Options that several commands share."""

import math
import shlex
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from kdsearch.cli.completion import levels, study_names
from kdsearch.errors import RequestError
from kdsearch.intervals import LARGEST_LOSS, LEVEL, LEVELS, TOLERANCE
from kdsearch.spec import parse_levels

F = TypeVar("F", bound=Callable[..., Any])


class Commands(click.Group):
    """Commands whose options are given once, but for those that collect. Of two click takes the last."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments name.

        Raises:
            RequestError: They give one of its options twice.
        """
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and not ctx.resilient_parsing:
            _refuse_twice(command, click.Context(command, parent=ctx, info_name=name), rest)
        return name, command, rest


def _refuse_twice(command: click.Command, ctx: click.Context, args: list[str]) -> None:
    _, _, order = command.make_parser(ctx).parse_args(list(args))
    for option in order:
        if not isinstance(option, click.Option) or option.multiple or option.is_flag:
            continue
        if (n_given := order.count(option)) > 1:
            takes_several = option.metavar is not None and "," in option.metavar
            what = "Separate them by commas." if takes_several else "Keep one of them."
            raise RequestError(f"`{option.opts[0]}` must be given once, got it {n_given} times. {what}")


storage_option = click.option(
    "--storage",
    envvar="KDSEARCH_STORAGE",
    default="sqlite:///kdsearch.db",
    show_default=True,
    metavar="URL",
    help="The database; also from KDSEARCH_STORAGE.",
)


def again_with(storage: str) -> str:
    """Return the option that names the same database in a command to come.

    Nothing where that needs none. A URL with a password is to be given again by who knows it.
    """
    from kdsearch.storage import parse_url, shown_url

    source = click.get_current_context().get_parameter_source("storage")
    if source is not ParameterSource.COMMANDLINE:
        return ""
    shown = shown_url(parse_url(storage))
    return f" --storage {'URL' if '***' in shown else shlex.quote(shown)}"


study_argument = click.argument("study", shell_complete=study_names)
format_option = click.option(
    "--format",
    "output",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="json prints one JSON document and nothing else, csv flat rows.",
)


FORMATS = ("table", "json", "csv", "markdown", "latex")

formats_option = click.option(
    "--format",
    "output",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="json prints one JSON document and nothing else; csv has every number, latex needs booktabs.",
)


class Interval(click.FloatRange):
    """A number in a range; unlike click's own, `nan` lies in none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, or fail with what is allowed."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


level_option = click.option(
    "--level",
    default=LEVEL,
    show_default=True,
    type=Interval(*LEVELS),
    help="Probability of the intervals.",
)
tolerance_option = click.option(
    "--tolerance",
    default=TOLERANCE,
    show_default=True,
    type=Interval(0, LARGEST_LOSS),
    help="Accuracy that may be lost for a temperature to be called near-optimal, a fraction.",
)


def where_option(function: F) -> F:
    """Add `--where PATH=VALUE`, which may be given several times."""
    option = click.option(
        "--where",
        multiple=True,
        metavar="PATH=VALUE",
        shell_complete=levels,
        callback=lambda context, parameter, texts: parse_where(texts),
        help="Only setups with this level of a factor; may be given several times.",
    )
    return option(function)


def set_option(function: F) -> F:
    """Add `--set PATH=VALUE`, which may be given several times, as `setup`."""
    option = click.option(
        "--set",
        "setup",
        multiple=True,
        required=True,
        metavar="PATH=VALUE",
        callback=lambda context, parameter, texts: parse_levels(texts, "--set", example="optimizer.name=sgd"),
        help="A value of the setup; may be given several times.",
    )
    return option(function)


def parse_where(texts: tuple[str, ...]) -> dict[str, Any] | None:
    """Return `PATH=VALUE` texts as a mapping, each VALUE one scalar. None where there are none."""
    return parse_levels(texts, "--where", example="optimizer.name=sgd") or None

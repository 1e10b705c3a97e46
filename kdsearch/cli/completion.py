"""What a shell completes: names of studies, their factors and levels.

A shell asks at every press of Tab: what can't be read completes nothing, and no word is printed.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from kdsearch.spec import StudySpec
    from kdsearch.storage import Database

Completer = Callable[[click.Context, click.Parameter, str], list[str]]


def study_names(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Return the studies of the database whose names begin so."""

    def names(database: "Database") -> list[str]:
        from kdsearch.storage import list_studies

        return [study.name for study in list_studies(database)]

    return _beginning(begun, _of_database(context, names))


def factors(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Return the factors of the named study that begin so. After a comma, those of a list."""
    before, comma, last = begun.rpartition(",")
    return [
        f"{before}{comma}{path}" for path in _beginning(last, _of_study(context, lambda spec: [*spec.setup]))
    ]


def levels(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Return `PATH=LEVEL` of the named study's factors that begin so."""
    from kdsearch.spec import level_label

    return _beginning(
        begun,
        _of_study(
            context,
            lambda spec: [
                f"{path}={level_label(level)}" for path, own in spec.setup.items() for level in own
            ],
        ),
    )


def _of_study(context: click.Context, read: "Callable[[StudySpec], list[str]]") -> list[str]:
    study = context.params.get("study") or next(iter(context.args), None)  # click: an option lacks its value

    def texts(database: "Database") -> list[str]:
        from kdsearch.storage import load_spec_of

        return read(load_spec_of(database, str(study)))

    return _of_database(context, texts) if study else []


def _of_database(context: click.Context, read: "Callable[[Database], list[str]]") -> list[str]:
    """Return what is read of the database that the words name.

    Nothing where that fails.
    """
    from kdsearch.api import storage_url
    from kdsearch.storage import open_database

    try:
        with open_database(storage_url(context.params.get("storage"))) as database:
            return read(database)
    except Exception:  # whatever it is, the command itself will say it
        return []


def _beginning(begun: str, texts: list[str]) -> list[str]:
    return [text for text in texts if text.startswith(begun)]

"""The commands that serve, stop, keep the database and repeat."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kdsearch.cli.formats import print_document
from kdsearch.cli.options import Commands, format_option, storage_option, study_argument
from kdsearch.errors import RunError
from kdsearch.spec.bounds import LARGEST_COLUMN

if TYPE_CHECKING:
    from kdsearch.schedule.reproduce import Reproduction

SENTENCES = {
    "empty": "no tables of kdsearch yet; `kdsearch launch` makes them.",
    "current": "revision {0.revision}, this kdsearch's own.",
    "older": "revision {0.revision}, older than this kdsearch's {0.head}. Migrate: kdsearch db upgrade",
    "newer": "revision {0.revision}, newer than this kdsearch's {0.head}. Install a newer kdsearch.",
}


@click.command()
@storage_option
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535))
def serve(storage: str, host: str, port: int) -> None:
    """Serve the explorer, its JSON and the Optuna dashboard.

    They are at /, /kdsearch/v1/ and /dashboard.
    """
    from kdsearch.service import run

    run(storage, host=host, port=port, announce=click.echo)


@click.command()
@storage_option
@click.option(
    "--allow-launch", is_flag=True, help="Let the agent launch and stop studies, and run their code."
)
def mcp(storage: str, allow_launch: bool) -> None:
    """Answer an agent's questions by the Model Context Protocol.

    It talks over stdin and stdout and changes nothing.
    """
    from kdsearch.cli.agents import build_server

    build_server(storage, allow_launch=allow_launch).run()


@click.command()
@study_argument
@storage_option
def stop(study: str, storage: str) -> None:
    """Ask the live driver to finish its running packs and stop."""
    from kdsearch.storage import load_spec_of, open_database, request_stop

    with open_database(storage) as database:
        load_spec_of(database, study)  # tells where there is no such study
        driver = request_stop(database, study)
    click.echo(f"Asked the driver on {driver.host} (pid {driver.pid}) to finish its running packs and stop.")


@click.command()
@study_argument
@click.option("--yes", is_flag=True, help="Don't ask.")
@storage_option
def delete(study: str, yes: bool, storage: str) -> None:
    """Delete a study with all its trials, here and in Optuna. Its teachers stay."""
    from kdsearch.storage import delete_study, load_study, open_database

    with open_database(storage) as database:
        finished = load_study(database, study).progress.finished
        if not yes:
            click.confirm(f"Delete {study} with its {finished} finished trials?", abort=True, err=True)
        delete_study(database, study)
    click.echo(f"Deleted {study}.")


@click.command()
@study_argument
@click.argument("name")
@storage_option
def rename(study: str, name: str, storage: str) -> None:
    """Give a study another name; its study file needs it too."""
    import optuna

    from kdsearch.storage import open_database, rename_study

    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it says that a study was created
    with open_database(storage) as database:
        rename_study(database, study, name)
    click.echo(f"Renamed {study} to {name}. Write `name: {name}` in its study file, too.")


@click.group(cls=Commands)
def db() -> None:
    """Tell the database's version, or bring it up to date."""


@db.command()
@storage_option
@format_option
def status(storage: str, output: str) -> None:
    """Tell the schema's version and whether this kdsearch can use it."""
    from kdsearch.storage import connect_database, schema_status

    with connect_database(storage) as database:
        found = schema_status(database)
        name = database.name
    document = {"database": name, **found.__dict__}
    sentence = f"{name}: {SENTENCES[found.state].format(found)}"
    print_document(output, lambda: document, lambda: [document], lambda: click.echo(sentence))


@db.command()
@storage_option
def upgrade(storage: str) -> None:
    """Migrate the database to this kdsearch's schema."""
    from kdsearch.storage import connect_database
    from kdsearch.storage import upgrade as upgrade_tables

    with connect_database(storage) as database:
        found = upgrade_tables(database)
        click.echo(f"{database.name}: {SENTENCES[found.state].format(found)}")


@click.command()
@study_argument
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@storage_option
def export(study: str, folder: Path, storage: str) -> None:
    """Write a study, its Optuna trials included, to a folder."""
    from kdsearch.storage import export_study, open_database

    export_study(open_database(storage), study, folder)
    click.echo(f"Wrote {study} to {folder}. Read it elsewhere: kdsearch import {folder} --storage URL")


@click.command()
@study_argument
@click.argument("number", type=click.IntRange(0, LARGEST_COLUMN))
@storage_option
@format_option
def reproduce(study: str, number: int, storage: str, output: str) -> None:
    """Train one trial again and tell whether its result is the same. Exits with 1 if it is not.

    A result within the spread of the setup's seeds counts as reproduced. Nothing is written to the database.
    """
    from kdsearch.schedule.reproduce import reproduce_trial
    from kdsearch.storage import open_database

    with open_database(storage) as database:
        found = reproduce_trial(database, study, number)
    rows = [
        {"metric": name, "recorded": value, "again": found.again.get(name)}
        for name, value in found.recorded.items()
    ]
    print_document(output, found.to_dict, lambda: rows, lambda: _show_repetition(found))
    if not found.holds:
        raise RunError(found.statement)
    if output == "table":
        click.echo(found.statement)


def _show_repetition(found: "Reproduction") -> None:
    for difference in found.differences:
        click.echo(f"Not as it was: {difference}.")
    for name, value in found.recorded.items():
        now = found.again.get(name)
        click.echo(f"{name:<18} {value:.6g} → {'–' if now is None else f'{now:.6g}'}")


COMMANDS = (serve, mcp, stop, delete, rename, db, export, reproduce)

"""The commands that serve, stop and keep the database."""

from pathlib import Path

import click

from kdsearch.cli.ask import print_json
from kdsearch.cli.options import format_option, storage_option


@click.command()
@storage_option
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535))
def serve(storage: str, host: str, port: int) -> None:
    """Serve the explorer at /, JSON under /kdsearch/v1/ and the Optuna dashboard at /dashboard."""
    from kdsearch.service import run

    run(storage, host=host, port=port)


@click.command()
@click.argument("study")
@storage_option
def stop(study: str, storage: str) -> None:
    """Ask the live driver to finish its running packs and stop."""
    from kdsearch.storage import open_database, request_stop

    driver = request_stop(open_database(storage), study)
    click.echo(f"Asked the driver on {driver.host} (pid {driver.pid}) to finish its running packs and stop.")


@click.group()
def db() -> None:
    """Tell the database's version, or bring it up to date."""


@db.command()
@storage_option
@format_option
def status(storage: str, output: str) -> None:
    """Tell the schema's version and whether this kdsearch can use it."""
    from kdsearch.storage import schema_status

    found = schema_status(storage)
    if output == "json":
        print_json(found.to_dict())
    else:
        click.echo(found.sentence())


@db.command()
@storage_option
def upgrade(storage: str) -> None:
    """Migrate the database to this kdsearch's schema."""
    from kdsearch.storage import upgrade_schema

    click.echo(upgrade_schema(storage).sentence())


@click.command()
@click.argument("study")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@storage_option
def export(study: str, folder: Path, storage: str) -> None:
    """Write a study, its Optuna trials included, to a folder."""
    from kdsearch.storage import export_study, open_database

    export_study(open_database(storage), study, folder)
    click.echo(f"Wrote {study} to {folder}. Read it elsewhere: kdsearch import {folder} --storage URL")


@click.command("import")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@storage_option
def import_(folder: Path, storage: str) -> None:
    """Read a study that `kdsearch export` wrote."""
    from kdsearch.storage import import_study, open_database

    name = import_study(open_database(storage, create=True), folder)
    click.echo(f"Read {name}. See it: kdsearch best {name}")


COMMANDS = (serve, stop, db, export, import_)

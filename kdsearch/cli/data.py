"""`kdsearch data`: what was read of a study's data."""

import math
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kdsearch.cli.formats import print_document
from kdsearch.cli.options import format_option
from kdsearch.errors import RequestError
from kdsearch.spec import StudySpec, load_spec

if TYPE_CHECKING:
    from kdsearch.distill.preflight.inspection import DataReport

_MOST_CLASSES = 30
"""By hand: a screen; the others are counted."""


@click.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Replace a value of the spec.")
@click.option(
    "--sheet",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.png",
    help="Write a contact sheet: images of each class, as training sees them.",
)
@format_option
def data(spec: Path, overrides: tuple[str, ...], sheet: Path | None, output: str) -> None:
    """Show the data that the study in the file SPEC reads.

    These are counts, statistics and warnings.
    """
    if sheet is not None and sheet.suffix.lower() != ".png":
        raise RequestError(f"`--sheet` must name a PNG file, got {str(sheet)!r}. Example: --sheet sheet.png.")
    study = load_spec(spec, overrides=overrides)
    reports = _reports(study)
    if sheet is not None:
        _write_sheet(reports, sheet)
    documents = [report.to_dict() for report in reports]
    print_document(
        output,
        lambda: {"study": study.name, "data": documents},
        lambda: [
            {"role": report.role, "dataset": document["dataset"]["name"], **row}
            for report, document in zip(reports, documents, strict=True)
            for row in document["classes"]
        ],
        lambda: _show(reports, sheet),
    )


def _show(reports: list["DataReport"], sheet: Path | None) -> None:
    for report in reports:
        _print_report(report)
    if sheet is not None:
        click.echo(f"Contact sheet: {sheet}")


def _reports(study: StudySpec) -> list["DataReport"]:
    """Return the report of each data set that some setup reads, once."""
    from kdsearch.distill.factories import undisturbed
    from kdsearch.distill.preflight.inspection import inspect_data
    from kdsearch.schedule.preflight import import_from_working_directory

    import_from_working_directory()
    found: dict[str, DataReport] = {}
    seen: set[str] = set()
    for setup in study.setups():
        training = study.resolve(setup, {})
        asked = repr((training.dataset, training.teacher.pretraining, training.student.init))
        if asked not in seen:
            seen.add(asked)
            with undisturbed():
                report = inspect_data(study, setup)
            for one in (report, *report.pretraining):
                found.setdefault(one.dataset.model_dump_json(), one)
    return list(found.values())


def _write_sheet(reports: list["DataReport"], path: Path) -> None:
    from kdsearch.artifacts.files import write_output
    from kdsearch.distill.preflight.contact_sheets import contact_sheet

    pictures, content = [row for report in reports for row in report.pictures.items()], BytesIO()
    if not pictures:
        raise RequestError("`--sheet` must be left out for texts: there are no images to show.")
    contact_sheet(pictures).save(content, format="PNG")
    try:
        write_output(path, content.getvalue())
    except OSError as error:
        raise RequestError(
            f"`--sheet` must be writable, got {str(path)!r} ({error.strerror}). Name another file."
        ) from error


def _print_report(report: "DataReport") -> None:
    from kdsearch.cli.tables import print_counts

    document = report.to_dict()
    name = document["dataset"]["name"]
    click.echo(f"{report.role}: {name}{_root_of(document)}, labels {document['dataset']['labels']}")
    print_counts(document, most=_MOST_CLASSES)
    click.echo(_samples_of(report))
    for warning in report.warnings:
        click.echo(f"look: {warning}")
    click.echo()


def _samples_of(report: "DataReport") -> str:
    """Return in words what the samples are."""
    if report.vocabulary is not None:
        return f"texts: {report.shape[-1]} tokens each, of a vocabulary of {report.vocabulary:,}"
    channels, height, width = report.shape
    return (
        f"images: {channels} × {height} × {width}, {_streamed(report) if report.streamed else 'in memory'}; "
        f"mean {_numbers(report.mean)}, deviation {_numbers(report.std)} of training pixels from 0 to 1"
    )


def _streamed(report: "DataReport") -> str:
    """Return in words where images are kept that `load_dataset` cannot hold."""
    size = math.prod(report.shape) * sum(map(sum, report.counts.values()))
    return (
        f"streamed ({size / 1e9:,.2f} GB: kept decoded where two thirds of a GPU's memory stay free, or half "
        "of the machine's, else decoded in each epoch)"
    )


def _root_of(document: dict[str, Any]) -> str:
    root = document["dataset"]["root"]
    return f" in {root}" if root else ""


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


COMMANDS = (data,)

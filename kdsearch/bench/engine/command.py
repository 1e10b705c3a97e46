"""How fast the engine is, against plain training and the limit.

All ways of a case take turns in one process, so that whatever else the machine does falls on all of
them; figures are medians over the rounds. On a GPU, which is nobody else's, each way is measured alone, so
that it has the whole memory, and one that fails is told beside the others.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import click
import torch

from kdsearch.bench.engine.cases import BATCH_SIZE, CASES, GPU_CASES, Case
from kdsearch.bench.engine.contenders import CHOSEN, contenders_of, entries_of
from kdsearch.bench.engine.memory import member_bytes
from kdsearch.bench.engine.turns import Failure, Measured, interleaved, one_by_one
from kdsearch.cli.options import format_option
from kdsearch.distill.devices import chosen_device, is_out_of_memory, release_memory
from kdsearch.distill.execution import Way
from kdsearch.errors import RequestError


@dataclass(frozen=True)
class Row:
    """What one way costs, and how fast it is against plain.

    Costs are in µs for each student and sample; `speedup` is in students per second, where plain has 1. Of
    packs also their cost where the best way of that size has 1, and what a further member adds to the peak of
    memory.
    """

    case: str
    way: str
    size: int
    cpu_us: float
    wall_us: float
    speedup: float | None
    of_limit: float | None
    of_best: float | None
    member_bytes: int | None
    rounds: int


@click.command("engine")
@click.option(
    "--case",
    "cases",
    multiple=True,
    type=click.Choice([*CASES, *GPU_CASES]),
    help="By default all that are meant for the device.",
)
@click.option(
    "--pack", "sizes", multiple=True, type=int, help="Students in a pack; by default each case's own sizes."
)
@click.option("--rounds", default=5, help="Turns of each way.")
@click.option(
    "--seconds",
    default=60.0,
    help="Fewer turns, but three (on a GPU one), where a case takes longer than this.",
)
@click.option("--threads", default=1, help="CPU threads.")
@click.option("--device", default="cpu", help="cpu or cuda.")
@format_option
@click.option("--out", type=click.Path(path_type=Path), help="Write the JSON document to a file as well.")
def engine_command(
    cases: Sequence[str],
    sizes: Sequence[int],
    rounds: int,
    seconds: float,
    threads: int,
    device: str,
    output: str,
    out: Path | None,
) -> None:
    """Compare our packs with a plain loop and with the limit.

    The limit is the student's forward and backward pass alone.
    """
    where = device_of(device)
    torch.set_num_threads(threads)
    known = CASES | GPU_CASES
    rows: list[Row] = []
    failures: list[dict[str, Any]] = []
    if output == "table":
        click.echo(HEADER)
    for name in cases or (GPU_CASES if where.type == "cuda" else CASES):
        case = known[name]
        found, failed = measure_case(case, sizes or case.sizes, rounds, where, seconds)
        rows += found
        failures += [{"case": case.name, **asdict(failure)} for failure in failed]
        if output == "table":
            lines = [*map(row_line, found), *(failure_line(case, failure) for failure in failed)]
            click.echo("\n".join(lines))
    found_in_all = {"rows": [asdict(row) for row in rows], "failed": failures}
    document = json.dumps({**circumstances(threads, device), **found_in_all}, indent=1)
    if out is not None:
        out.write_text(document)
    if output == "json":
        click.echo(document)


def device_of(name: str) -> torch.device:
    """Return the device of a name.

    Raises:
        click.ClickException: This machine has none.
    """
    try:
        return chosen_device(name)
    except RequestError as error:
        raise click.ClickException(str(error)) from error


def measure_case(
    case: Case, sizes: Sequence[int], rounds: int, device: torch.device, seconds: float = math.inf
) -> tuple[list[Row], list[Failure]]:
    """Return the rows of one case, and its failures on a GPU."""
    on_gpu = device.type == "cuda"
    with TemporaryDirectory() as folder:
        artifacts = Path(folder)
        if on_gpu:
            entries = entries_of(case, sizes, artifacts, device)
            measured, failures = one_by_one(entries, rounds, device, seconds)
        else:
            measured = interleaved(contenders_of(case, sizes, artifacts, device), rounds, device, seconds)
            failures = []
        memory = _memory(case, measured, artifacts, device)
    return rows_of(case, measured, memory, on_gpu=on_gpu), failures


def _memory(
    case: Case, measured: Sequence[Measured], artifacts: Path, device: torch.device
) -> dict[Way | None, int]:
    """Return the bytes that each way takes for one more member.

    Only ways that were measured are there.
    """
    found: dict[Way | None, int] = {}
    for way in {own.way: None for own in measured if own.way}:
        try:
            found[way] = member_bytes(case, way, artifacts, device)
        except RuntimeError as error:  # a GPU that had room for the pack may have none for two
            if not is_out_of_memory(error):
                raise
            release_memory(device)
    return found


def rows_of(
    case: Case, measured: Sequence[Measured], memory: Mapping[Way | None, int], *, on_gpu: bool
) -> list[Row]:
    """Return what was measured as rows.

    Costs are in µs for each student and sample, and relative to plain and limit.

    Args:
        case: The case.
        measured: Each way's times.
        memory: What a further member takes in each way of training a pack, in bytes.
        on_gpu: Wall time counts, not CPU time.
    """
    plain = next((own.cost(on_gpu) for own in measured if own.name == "plain"), None)
    limit = min((own.cost(on_gpu) for own in measured if own.name.startswith("limit")), default=None)
    return [
        Row(
            case=case.name,
            way=f"{CHOSEN}: {own.way}" if own.name == CHOSEN else own.name,
            size=own.size,
            cpu_us=median(own.cpu_s) / case.train_size * 1e6,
            wall_us=median(own.wall_s) / case.train_size * 1e6,
            speedup=plain and plain / own.cost(on_gpu),
            of_limit=limit and own.cost(on_gpu) / limit,
            of_best=_of_best(own, measured, on_gpu),
            member_bytes=memory.get(own.way),
            rounds=len(own.cpu_s),
        )
        for own in measured
    ]


def _of_best(own: Measured, measured: Sequence[Measured], on_gpu: bool) -> float | None:
    """Return a pack's cost relative to the best way's.

    That is the best given way of training a pack of the same size.
    """
    if own.way is None:
        return None
    rivals = [
        other.cost(on_gpu)
        for other in measured
        if other.way and other.size == own.size and other.name != CHOSEN
    ]
    return own.cost(on_gpu) / min(rivals) if rivals else None


def circumstances(threads: int, device: str) -> dict[str, Any]:
    """Return what the figures depend on beside the code."""
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"
    return {
        "device": name,
        "threads": threads,
        "torch": torch.__version__,
        "batch_size": BATCH_SIZE,
        "load": os.getloadavg()[0],
        "cores": os.cpu_count(),
    }


HEADER = (
    f"{'case':15} {'way':28} {'K':>3} {'CPU µs':>8} {'wall µs':>8} "
    f"{'speed-up':>9} {'of limit':>9} {'of best':>8} {'MB each':>9}\n" + "-" * 105
)


def row_line(row: Row) -> str:
    """Return a row as a line of the table under `HEADER`.

    Costs are for each student and sample.
    """
    speedup = "" if row.speedup is None else f"{row.speedup:.2f}"
    of_limit = "" if row.of_limit is None else f"{row.of_limit:.2f}"
    once = "" if row.rounds > 1 else "  (measured once)"
    best = "" if row.of_best is None else f"{row.of_best:.2f}"
    memory = "" if row.member_bytes is None else f"{row.member_bytes / 1e6:.2f}"
    return (
        f"{row.case:15} {row.way:28} {row.size:3d} {row.cpu_us:8.1f} {row.wall_us:8.1f} "
        f"{speedup:>9} {of_limit:>9} {best:>8} {memory:>9}{once}"
    ).rstrip()


def failure_line(case: Case, failure: Failure) -> str:
    """Return what failed as a line of the table."""
    return f"{case.name:15} {failure.way:28} {failure.size:3d} failed: {failure.reason}"

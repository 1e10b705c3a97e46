"""How fast the engine trains, against the plain loop and against the machine's limit.

All ways of a case take turns in one process, so that whatever else the machine does falls on all of
them; figures are medians over the rounds.
"""

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import click
import torch

from kdsearch.bench.engine.cases import BATCH_SIZE, CASES, Case
from kdsearch.bench.engine.contenders import Contender, PackRunner, contenders_of
from kdsearch.bench.engine.memory import member_bytes
from kdsearch.cli.options import format_option
from kdsearch.distill.execution import Way

_LEAST_ROUNDS = 3
_TURN_S = 0.1  # the least length of a turn
_HOPELESS = 2.5  # a way this much slower than its pack's fastest is measured once


@dataclass(frozen=True)
class Row:
    """One way's cost in µs for each student and sample, and its students per second where plain has 1.

    Of packs also their cost where the best way of that size has 1, and what a further member adds to
    the peak of memory.
    """

    case: str
    way: str
    size: int
    cpu_us: float
    wall_us: float
    speedup: float
    of_limit: float
    of_best: float | None
    member_bytes: int | None
    rounds: int


@dataclass(frozen=True)
class Measured:
    """The seconds that one way took for an epoch of one student, in each round."""

    contender: Contender
    cpu_s: list[float]
    wall_s: list[float]

    def cost(self, on_gpu: bool) -> float:
        """Return the median that counts: wall time on a GPU, CPU time elsewhere."""
        return median(self.wall_s if on_gpu else self.cpu_s)


@click.command("engine")
@click.option("--case", "cases", multiple=True, type=click.Choice(list(CASES)), default=list(CASES))
@click.option("--pack", "sizes", multiple=True, type=int, default=[1, 4, 8, 16], help="Students in a pack.")
@click.option("--rounds", default=5, help="Turns of each way.")
@click.option("--seconds", default=60.0, help="Fewer turns, but three, where a case takes longer than this.")
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
    """Compare our packs with a plain loop and with the student's forward and backward pass alone."""
    torch.set_num_threads(threads)
    rows: list[Row] = []
    if output == "table":
        click.echo(HEADER)
    for name in cases:
        found = measure_case(CASES[name], sizes, rounds, torch.device(device), seconds)
        rows += found
        if output == "table":
            click.echo("\n".join(row_line(row) for row in found))
    document = json.dumps({**circumstances(threads, device), "rows": [asdict(row) for row in rows]}, indent=1)
    if out is not None:
        out.write_text(document)
    if output == "json":
        click.echo(document)


def measure_case(
    case: Case, sizes: Sequence[int], rounds: int, device: torch.device, seconds: float = math.inf
) -> list[Row]:
    """Return the rows of one case."""
    with TemporaryDirectory() as folder:
        artifacts = Path(folder)
        contenders = contenders_of(case, sizes, artifacts, device)
        measured = interleaved(contenders, rounds, device, seconds)
        runners = [own.runner for own in contenders]
        ways = {runner.way for runner in runners if isinstance(runner, PackRunner)}
        memory: dict[Way | None, int] = {way: member_bytes(case, way, artifacts, device) for way in ways}
    return rows_of(case, measured, memory, on_gpu=device.type == "cuda")


def interleaved(
    contenders: Sequence[Contender], rounds: int, device: torch.device, seconds: float = math.inf
) -> list[Measured]:
    """Run every contender in turn; the first epoch counts only for packs that are hopelessly slow.

    Where so many rounds would take longer than `seconds`, there are fewer, but three.
    """
    cold = [(contender, _timed(contender, device)) for contender in contenders]
    once = [Measured(contender, [cpu], [wall]) for contender, (cpu, wall) in cold]
    measured = [own if _is_hopeless(own, once) else Measured(own.contender, [], []) for own in once]
    repeated = [own for own, first in zip(measured, once, strict=True) if own is not first]
    a_round_s = sum(
        max(first.wall_s[0] * first.contender.size, _TURN_S)
        for own, first in zip(measured, once, strict=True)
        if own is not first
    )
    affordable = max(seconds // a_round_s, _LEAST_ROUNDS)
    for _ in range(int(min(rounds, affordable))):
        for own in repeated:
            cpu, wall = _timed(own.contender, device)
            own.cpu_s.append(cpu)
            own.wall_s.append(wall)
    return measured


def _is_hopeless(own: Measured, others: Sequence[Measured]) -> bool:
    """Return whether a pack took far longer than the fastest pack of its size."""
    if not isinstance(own.contender.runner, PackRunner):
        return False
    packs = [other for other in others if isinstance(other.contender.runner, PackRunner)]
    rivals = [other.wall_s[0] for other in packs if other.contender.size == own.contender.size]
    return own.wall_s[0] > _HOPELESS * min(rivals)


def rows_of(
    case: Case, measured: Sequence[Measured], memory: Mapping[Way | None, int], *, on_gpu: bool
) -> list[Row]:
    """Return what was measured, in µs for each student and sample and relative to plain and limit.

    Args:
        case: The case.
        measured: Each way's times.
        memory: What a further member takes in each way of training a pack, in bytes.
        on_gpu: Wall time counts, not CPU time.
    """
    plain = next(own.cost(on_gpu) for own in measured if own.contender.name == "plain")
    limit = min(own.cost(on_gpu) for own in measured if own.contender.name.startswith("limit"))
    return [
        Row(
            case=case.name,
            way=_label(own.contender),
            size=own.contender.size,
            cpu_us=median(own.cpu_s) / case.train_size * 1e6,
            wall_us=median(own.wall_s) / case.train_size * 1e6,
            speedup=plain / own.cost(on_gpu),
            of_limit=own.cost(on_gpu) / limit,
            of_best=_of_best(own, measured, on_gpu),
            member_bytes=memory.get(_way(own.contender)),
            rounds=len(own.cpu_s),
        )
        for own in measured
    ]


def _of_best(own: Measured, measured: Sequence[Measured], on_gpu: bool) -> float | None:
    """Return a pack's cost, where the best given way of training a pack of its size has 1."""
    if not isinstance(own.contender.runner, PackRunner):
        return None
    rivals = [
        other.cost(on_gpu)
        for other in measured
        if isinstance(other.contender.runner, PackRunner)
        and other.contender.size == own.contender.size
        and other.contender.name != "chosen"
    ]
    return own.cost(on_gpu) / min(rivals)


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
    """Return a row as a line of the table under `HEADER`; costs are for each student and sample."""
    once = "" if row.rounds > 1 else "  (measured once)"
    best = "" if row.of_best is None else f"{row.of_best:.2f}"
    memory = "" if row.member_bytes is None else f"{row.member_bytes / 1e6:.2f}"
    return (
        f"{row.case:15} {row.way:28} {row.size:3d} {row.cpu_us:8.1f} {row.wall_us:8.1f} "
        f"{row.speedup:9.2f} {row.of_limit:9.2f} {best:>8} {memory:>9}{once}"
    ).rstrip()


def _timed(contender: Contender, device: torch.device) -> tuple[float, float]:
    """Return the CPU and wall seconds of an epoch, divided by the number of students.

    A turn has as many epochs as it takes for the caches to be the contender's own.
    """
    cpu, wall = time.process_time(), time.perf_counter()
    n_students = 0
    while n_students == 0 or time.perf_counter() - wall < _TURN_S:
        contender.runner.run_epoch()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        n_students += contender.size
    return (time.process_time() - cpu) / n_students, (time.perf_counter() - wall) / n_students


def _way(contender: Contender) -> Way | None:
    return contender.runner.way if isinstance(contender.runner, PackRunner) else None


def _label(contender: Contender) -> str:
    return f"chosen: {_way(contender)}" if contender.name == "chosen" else contender.name

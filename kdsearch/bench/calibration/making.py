"""Making a table: `python -m kdsearch.bench table`. An interrupted run goes on where it was."""

import hashlib
import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np

from kdsearch.bench.calibration.table import LR, Axes, Table, last_of
from kdsearch.bench.options import spec_argument
from kdsearch.distill import train_pack
from kdsearch.spec import TEMPERATURE, StudySpec, load_spec, spec_document

_SEED = 10**9  # far from a study's own seeds


class Progress:
    """The packs trained so far, a line of a file each.

    The file is beside the table's own; a table with more seeds resumes from it.
    """

    def __init__(self, path: Path, spec: StudySpec, axes: Axes) -> None:
        document = json.dumps([spec_document(spec), axes.temperatures, axes.rates])
        self._of = hashlib.sha256(document.encode()).hexdigest()[:16]
        self.path = path
        self._spec, self._axes = spec, axes
        self._lines: dict[tuple[int, int, int], dict[str, Any]] = {}
        self._load()

    def _load(self) -> None:
        """Take whole lines of this table. A last line that is not whole is cut off."""
        if not self.path.exists():
            return
        text = self.path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            self.path.write_text(whole, encoding="utf-8")
        found = [json.loads(line) for line in whole.splitlines()]
        if any(line["of"] != self._of for line in found):
            raise click.UsageError(
                f"`--out` must not lie beside another table's {self.path.name}. Give another name."
            )
        self._lines = {(line["setup"], line["rate"], line["seed"]): line for line in found}

    def missing(self) -> list[tuple[int, int, int]]:
        """Return setup, rate and seed of the packs still to train.

        All packs of a seed come before those of the next.
        """
        n_setups, n_rates = len(self._axes.rates), len(self._axes.rates[0])
        wanted = product(range(self._axes.n_seeds), range(n_setups), range(n_rates))
        return [(s, rate, seed) for seed, s, rate in wanted if (s, rate, seed) not in self._lines]

    def train(self, pack: tuple[int, int, int], artifacts: Path) -> None:
        """Train every temperature of a setup at one rate and seed. Once this returns it is in the file."""
        setup, rate, seed = pack
        levels = self._spec.setups()[setup]
        members = [
            {TEMPERATURE: temperature, LR: self._axes.rates[setup][rate], "seed": _SEED + seed}
            for temperature in self._axes.temperatures
        ]
        curves: list[list[float]] = [[] for _ in members]

        def report(epoch: int, metrics: Any) -> tuple[()]:  # noqa: ARG001 - the interface
            for number, own in metrics.items():
                curves[number].append(own["val_accuracy"])
            return ()

        luck = {"training.view_seed": seed, "training.order_seed": seed}
        training = self._spec.resolve(levels, luck)
        results = train_pack(training, members, artifacts=artifacts, report=report)
        line = {
            "of": self._of,
            **{"setup": setup, "rate": rate, "seed": seed, "curves": curves},
            "test": [result.metrics.get("test_accuracy") for result in results],
            "states": [result.state for result in results],
        }
        self._lines[pack] = line
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def table(self, sizes: tuple[int, int]) -> Table:
        """Return the table once no pack is missing."""
        axes = self._axes
        shape = (len(axes.rates), len(axes.temperatures), len(axes.rates[0]), axes.n_seeds)
        n_epochs = max(len(curve) for line in self._lines.values() for curve in line["curves"])
        test, curves = np.full(shape, np.nan), np.full((*shape, n_epochs), np.nan)
        for (setup, rate, seed), line in self._lines.items():
            if seed >= axes.n_seeds:
                continue
            for k, curve in enumerate(line["curves"]):
                curves[setup, k, rate, seed, : len(curve)] = curve
                if line["states"][k] == "complete" and line["test"][k] is not None:
                    test[setup, k, rate, seed] = line["test"][k]
        return Table(self._spec, axes, last_of(curves), test, curves, sizes)


def _sizes(spec: StudySpec) -> tuple[int, int]:
    """Return the numbers of validation and test images."""
    from kdsearch.distill.data.dataset import load_dataset  # brings torch along

    data = load_dataset(spec.resolve(spec.setups()[0], {}).dataset)
    return len(data.validation), len(data.test)


def trained(progress: Progress, artifacts: Path) -> Iterator[int]:
    """Train what is missing; yield after each pack how many are left."""
    missing = progress.missing()
    for left, pack in zip(range(len(missing) - 1, -1, -1), missing, strict=True):
        progress.train(pack, artifacts)
        yield left


@click.command("table")
@spec_argument
@click.option("--temperatures", default=8, show_default=True, help="Temperatures, spread over the range.")
@click.option("--rates", default=5, show_default=True, help="Learning rates, spread over the range.")
@click.option("--seeds", default=8, show_default=True, help="Seeds of each cell.")
@click.option("--artifacts", type=click.Path(path_type=Path), default=Path("~/.cache/kdsearch").expanduser())
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="An npz file.")
def table_command(spec: Path, temperatures: int, rates: int, seeds: int, artifacts: Path, out: Path) -> None:
    """Train a table of students: every setup, temperature, learning rate and seed."""
    study = load_spec(spec)
    axes = Axes.of(study, (temperatures, rates, seeds))
    progress = Progress(out.with_suffix(".jsonl"), study, axes)
    missing = len(progress.missing())
    with click.progressbar(trained(progress, artifacts), length=missing, label="packs") as packs:
        for _ in packs:
            pass
    progress.table(_sizes(study)).save(out)
    click.echo(f"{out}: {len(study.setups())} setups, {out.stat().st_size / 1024:.0f} KiB.")

"""The live display of a running study."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kdsearch.analysis.labels import NOTHING, number_text, points_text, setup_names
from kdsearch.cli.time_left import TimeLeft
from kdsearch.spec import TEMPERATURE, StudySpec, setup_key
from kdsearch.storage import Hours, TrialRow, by_setup

REDRAW_S = 0.5
"""Twice a second looks alive and costs nothing."""

LINE_S = 10.0
"""In a log file, a line for each redrawing would bury the rest."""

MAX_SETUPS = 16
"""More rows fit on no screen."""


class _Console(Console):
    """Leaves stdout alone where stderr's reader has gone. Rich would end the program, unheard."""

    def on_broken_pipe(self) -> None:
        """Tell who prints that nobody reads."""
        raise BrokenPipeError


class Display:
    """Shows progress on stderr: redrawn in place on a terminal, else a line now and then.

    Where nothing can be shown any more, because a reader went away or a log's disk is full, it is given up:
    the study goes on unseen.
    """

    def __init__(self, spec: StudySpec) -> None:
        self._spec = spec
        self._console = _Console(file=sys.stderr, markup=False, emoji=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._phase = ""
        self._drawn = 0.0
        self._time_left = TimeLeft()
        self._rows: list[TrialRow] = []
        self._hours = Hours()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            with self._or_unseen():
                self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._or_unseen():
            self._live.stop()

    @contextmanager
    def _or_unseen(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            discard(sys.stderr)

    def phase(self, text: str) -> None:
        """Show what the driver does now."""
        self._phase = text
        with self._or_unseen():
            self._show(f"{self._spec.name}: {text}")

    def update(self, rows: Callable[[], list[TrialRow]], hours: Callable[[], Hours]) -> None:
        """Redraw, if the last drawing is old enough."""
        interval = REDRAW_S if self._console.is_terminal else LINE_S
        if time.monotonic() - self._drawn < interval:
            return
        self._rows = rows()
        if self._hours.budgets(self._spec):
            self._hours = hours()
        with self._or_unseen():
            self._show(self._line())
        self._drawn = time.monotonic()

    def interrupted(self) -> None:
        """Say that Ctrl-C was heard."""
        with self._or_unseen():
            self._console.print(f"{self._spec.name}: stopping; all that was measured is kept …")

    def _show(self, line: str) -> None:
        if self._console.is_terminal:
            self._live.update(self._picture(), refresh=True)
        else:
            self._console.print(line)

    def _finished(self) -> int:
        return sum(row.has_result for row in self._rows)

    def _line(self) -> str:
        epochs = [row.epochs for row in self._rows if row.state == "running"]
        at = f" (epochs done: {_span(epochs)})" if any(epochs) else ""
        done, total = self._finished(), self._spec.search.trials
        spent = [(used, budget) for _, used, budget in self._hours.budgets(self._spec)]
        seconds = self._time_left.seconds([(done, total), *spent])
        left = "" if seconds is None else f", about {_duration(seconds)} left"
        return f"{self._spec.name}: {done}/{total} trials, {len(epochs)} running{at}{left}"

    def _picture(self) -> Group:
        total = self._spec.search.trials
        bar = Table.grid()  # a bar alone does not end its line
        bar.add_row(ProgressBar(total=total, completed=self._finished(), width=48))
        line = self._line() if self._rows else f"{self._spec.name}: {self._phase} …"
        return Group(Text(line), bar, self._setups()) if self._rows else Group(Text(line))

    def _setups(self) -> Table:
        table = Table(box=None, pad_edge=False)
        for column in ("setup", "trials", "best trial %", "its T"):
            table.add_column(column, justify="left" if column == "setup" else "right")
        measured = [row for row in self._rows if row.state == "complete" and row.val_accuracy is not None]
        rows = by_setup(measured)
        setups = self._spec.setups()
        for setup, name in zip(setups[:MAX_SETUPS], setup_names(setups), strict=False):
            done = rows.get(setup_key(setup), [])
            top = max(done, key=lambda row: row.val_accuracy or 0.0, default=None)
            temperature = {**top.setup, **top.params}.get(TEMPERATURE) if top else None
            accuracy = points_text(top.val_accuracy) if top else NOTHING
            table.add_row(name, str(len(done)), accuracy, number_text(temperature, 2))
        hidden = len(setups) - MAX_SETUPS
        if hidden > 0:
            table.add_row(f"… and {hidden} more")
        return table


def discard(stream: TextIO) -> None:
    """Discard whatever this process writes to a stream from now on."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _span(epochs: list[int]) -> str:
    """Return the least and the most of some numbers."""
    return " to ".join(map(str, dict.fromkeys((min(epochs), max(epochs)))))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"

"""The questions as tools of the Model Context Protocol."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

from kdsearch.analysis.report.flat_rows import answer_rows, comparison_rows, forecast_rows, trial_row
from kdsearch.analysis.report.tables import Table
from kdsearch.api import Study, open_study
from kdsearch.api import recommend as recommend_for
from kdsearch.cli.launch import size_of_work
from kdsearch.errors import RequestError
from kdsearch.intervals import LEVEL, TOLERANCE
from kdsearch.spec import load_spec
from kdsearch.storage import list_studies, open_database, request_stop
from kdsearch.storage.rows.browsing import TrialQuery, load_trial_page

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

Answer = dict[str, Any]
P = ParamSpec("P")

MOST_ROWS = 50
"""Of one answer: more is asked for in parts, or with `where`."""

MOST_CHARACTERS = 40_000
"""Of one answer as JSON, some 10,000 tokens of a model's context."""

_MOST_TEXT = 2_000  # of what a command said: its end names the reason
_DRY_RUN_S = 600.0  # networks are built and data are read
_AT_ONCE_S = 3.0  # a launch that is refused ends sooner, before Ray starts

INSTRUCTIONS = (
    "kdsearch finds the best distillation temperature of each training setup. Begin with `studies`, then "
    "`best`. Every answer carries its doubt: quote intervals and notes with it, and never call an answer "
    "decided that says `decided: false`. Accuracies are fractions."
)


def build_server(storage: str, *, allow_launch: bool = False) -> "MCPServer":
    """Return a server whose tools ask a database.

    Args:
        storage: The database's URL.
        allow_launch: Offer `launch` and `stop` too, and let `dry_run` run a study file's own code.

    Raises:
        RequestError: The package mcp is not installed.
    """
    try:
        from mcp.server.mcpserver import MCPServer
        from mcp.types import ToolAnnotations
    except ImportError as error:
        raise RequestError(
            "`kdsearch mcp` needs the package mcp, 2.0 or newer. Install it: pip install 'kdsearch-hpo[mcp]'."
        ) from error
    server = MCPServer("kdsearch", instructions=INSTRUCTIONS, log_level="WARNING")
    questions = Questions(storage, allow_launch=allow_launch)
    for tool in questions.tools():
        changes = tool.__name__ in ("launch", "stop")
        server.tool(annotations=ToolAnnotations(read_only_hint=not changes))(_in_one_line(tool))
    return server


def _in_one_line(tool: Callable[P, Answer]) -> Callable[P, Answer]:
    """Let a client see what was wrong in words. What is a mistake of ours is said to be one."""
    from mcp.server.mcpserver.exceptions import ToolError

    from kdsearch.storage.sql.failures import explained

    @wraps(tool)
    def refused(*args: P.args, **kwargs: P.kwargs) -> Answer:
        try:
            return tool(*args, **kwargs)
        except Exception as error:
            known = explained(error)
            if known is None:
                raise
            raise ToolError(str(known)) from error

    return refused


class Questions:
    """The tools; each reads the database anew.

    Args:
        storage: The database's URL.
        allow_launch: Whether studies may be launched and stopped, and their own code be run.
    """

    def __init__(self, storage: str, *, allow_launch: bool) -> None:
        self._storage = storage
        self._allow_launch = allow_launch
        self._launched: list[subprocess.Popen[bytes]] = []  # kept, or Python would complain of them

    def tools(self) -> list[Callable[..., Answer]]:
        """Return what is offered."""
        offered: list[Callable[..., Answer]] = [self.studies, self.best, self.compare, self.trials]
        offered += [self.forecast, self.recommend, self.answer, self.dry_run]
        return [*offered, self.launch, self.stop] if self._allow_launch else offered

    def studies(self) -> Answer:
        """List the studies of the database with their state and progress."""
        with open_database(self._storage) as database:
            found = [study.to_dict() for study in list_studies(database)]
        return bounded(f"{len(found)} studies.", found)

    def best(
        self,
        study: str,
        by: list[str] | None = None,
        where: dict[str, str | int | float | bool] | None = None,
        level: float = LEVEL,
        tolerance: float = TOLERANCE,
    ) -> Answer:
        """Return the best temperature of each setup of a study.

        Each comes with its interval and whether it is decided.

        Args:
            study: The study's name.
            by: Factors to answer by, over all others.
            where: Levels of factors, by path: only setups that have them.
            level: Probability of the intervals.
            tolerance: Accuracy that may be lost for a temperature to be called near-optimal.
        """
        from kdsearch.analysis.report.headline import headline

        found = self._open(study).best(by=by, where=where, level=level, tolerance=tolerance)
        return bounded(headline(found), answer_rows(found), _notes_of(found.table()))

    def compare(
        self,
        study: str,
        factor: str,
        where: dict[str, str | int | float | bool] | None = None,
        level: float = LEVEL,
    ) -> Answer:
        """Return whether a study's best temperature depends on a factor.

        It also says how sure that is.

        Args:
            study: The study's name.
            factor: The factor's path, such as optimizer.name.
            where: Levels of other factors, by path.
            level: Probability of the intervals.
        """
        found = self._open(study).compare(factor, where=where, level=level)
        document = found.to_dict()
        return bounded(document["statement"] or document["reason"], comparison_rows(found))

    def trials(self, study: str, first: int = 0, most: int = MOST_ROWS) -> Answer:
        """List a study's trials by number: setup, parameters, state, reason, accuracy.

        Args:
            study: The study's name.
            first: How many trials are passed over.
            most: How many are listed, at most 50.
        """
        if first < 0 or not 1 <= most <= MOST_ROWS:
            raise RequestError(
                f"`first` must be at least 0 and `most` from 1 to {MOST_ROWS}, got {first} and {most}."
            )
        with open_database(self._storage) as database:
            page = load_trial_page(database, study, TrialQuery(limit=most, offset=first))
        part = [trial_row(row) for row in page.trials]
        return bounded(f"{len(part)} of {page.total} trials, from the place {first} on.", part)

    def forecast(
        self,
        study: str,
        regret: float | None = None,
        where: dict[str, str | int | float | bool] | None = None,
    ) -> Answer:
        """Return which setups of a study are decided.

        For the others it says about how many more trials they need.

        Args:
            study: The study's name.
            regret: Accuracy that a decided temperature may be expected to lose; by default the study's own.
            where: Levels of factors, by path.
        """
        if regret is not None and not 0 < regret <= 1:
            raise RequestError(f"`regret` must be above 0 and at most 1, got {regret}.")
        found = self._open(study).forecast(regret=regret, where=where)
        rows = forecast_rows(found)
        n_decided = sum(bool(row["decided"]) for row in rows)
        words = f"{n_decided} of {len(rows)} setups are decided, the others are not decided."
        words = words if n_decided < len(rows) else "All setups are decided."
        return bounded(words, rows, _notes_of(found.table()))

    def recommend(
        self,
        setup: dict[str, str | int | float | bool],
        studies: list[str] | None = None,
        level: float = LEVEL,
    ) -> Answer:
        """Recommend a temperature for a setup that need not have been run.

        It is drawn from the studies that were.

        Args:
            setup: Values by dotted path, such as {"optimizer.name": "sgd", "training.epochs": 40}.
            studies: The studies to draw from; by default all of the database.
            level: Probability of the intervals.
        """
        found = recommend_for(setup, studies=studies, storage=self._storage, level=level).to_dict()
        sources, warnings = found.pop("sources"), found.pop("warnings")
        words = found["reason"] or "A recommendation from what was run, not a measurement of this setup."
        return bounded(words, sources, warnings, recommendation=found)

    def answer(
        self,
        file: str,
        setup: list[str] | None = None,
        temperature: str | None = None,
        tuned: list[str] | None = None,
        metric: str | None = None,
        seed: str | None = None,
        level: float = LEVEL,
    ) -> Answer:
        """Tell the best temperature per setup from a file of runs: CSV, TSV, JSON, JSON lines or Parquet.

        Args:
            file: The file, one run a row.
            setup: Columns whose combinations get an answer each.
            temperature: The temperature's column; guessed where its name is usual, as the others are.
            tuned: Columns that may be chosen anew at each temperature.
            metric: The accuracy's column.
            seed: What tells replicates apart.
            level: Probability of the intervals.
        """
        from kdsearch.analysis.questions.runs import answer_runs
        from kdsearch.analysis.report.headline import headline
        from kdsearch.runs import Asked, read_table, runs_of

        roles = {"setup": setup, "temperature": temperature, "tuned": tuned, "metric": metric, "seed": seed}
        given: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in roles.items() if v is not None
        }
        found = answer_runs(runs_of(read_table(Path(file)), Asked(**given)), level=level)
        rows, notes = answer_rows(found.answer), _notes_of(found.table())
        return bounded(headline(found.answer), rows, notes, read=found.to_dict()["read"])

    def dry_run(self, spec: str | dict[str, Any]) -> Answer:
        """Check a study file, and tell the size of the work. Nothing is started.

        Args:
            spec: The file's path, or its content as an object.
        """
        checked = load_spec(Path(spec) if isinstance(spec, str) else spec)
        size = size_of_work(checked)
        setups = size.pop("setups")
        words = f"{checked.name}: {len(setups)} setups, {size['trials']} trials in {size['packs']} packs."
        if not self._allow_launch:
            unseen = "Data, networks and the study's own code were not looked at: that takes --allow-launch."
            return bounded(words, setups, [unseen], size=size)
        plan = self._looked_at(spec)
        return bounded(
            words, setups, [*plan["notes"], *plan["unknown"]], size=size, estimate=plan["estimate"]
        )

    def launch(self, spec: str, overrides: list[str] | None = None) -> Answer:
        """Launch a study, or resume it, in a process of its own.

        The process outlives this server.

        Args:
            spec: The study file's path.
            overrides: PATH=VALUE texts that replace values of the file, such as search.trials=96.
        """
        checked = load_spec(Path(spec), overrides=tuple(overrides or ()))
        log = Path(f"{checked.name}-launch.log").absolute()
        sets = [word for text in overrides or () for word in ("--set", text)]
        with log.open("ab") as file:
            start = file.tell()
            process = subprocess.Popen(  # noqa: S603 - our own program
                _command("launch", spec, *sets, "--storage", self._storage),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._launched.append(process)
        try:
            code = process.wait(timeout=_AT_ONCE_S)
        except subprocess.TimeoutExpired:
            words = f"{checked.name} is launched. Ask `studies` for its progress, `stop` to end it."
            return bounded(words, [], pid=process.pid, log=str(log))
        said = log.read_bytes()[start:].decode(errors="replace").strip()[-_MOST_TEXT:]
        if code:
            raise RequestError(said or f"The launch ended with exit code {code}; see {log}.")
        return bounded(f"{checked.name} has ended: it was finished before.", [], log=str(log))

    def stop(self, study: str) -> Answer:
        """Ask a study's live driver to finish its running packs and stop.

        Args:
            study: The study's name.
        """
        with open_database(self._storage) as database:
            driver = request_stop(database, study)
        return bounded(f"Asked the driver on {driver.host} (pid {driver.pid}) to finish and stop.", [])

    def _open(self, study: str) -> Study:
        return open_study(study, storage=self._storage)

    def _looked_at(self, spec: str | dict[str, Any]) -> dict[str, Any]:
        """Return what a launch's own dry run finds. A process of its own runs what the study names."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(spec) if isinstance(spec, str) else Path(folder, "study.yaml")
            if not isinstance(spec, str):
                path.write_text(json.dumps(spec))
            try:
                found = subprocess.run(  # noqa: S603 - our own program
                    _command(
                        "launch", str(path), "--dry-run", "--format", "json", "--storage", self._storage
                    ),
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=_DRY_RUN_S,
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                raise RequestError(f"`spec` must be looked at within {_DRY_RUN_S:g} s.") from error
        if found.returncode:
            raise RequestError(found.stderr.decode(errors="replace").strip()[-_MOST_TEXT:])
        plan: dict[str, Any] = json.loads(found.stdout)
        return plan


def bounded(words: str, rows: Sequence[Mapping[str, Any]], notes: Sequence[str] = (), **more: Any) -> Answer:
    """Return an answer with as many rows and notes as fit.

    Args:
        words: The answer in a sentence or two.
        rows: Its numbers.
        notes: Without which it is not to be believed.
        more: Other parts, small ones.
    """
    most = MOST_ROWS
    while True:
        answer = {"words": words, **more, "rows": list(rows[:most]), "notes": list(notes[:most])}
        left_out = {
            name: len(whole) - most for name, whole in (("rows", rows), ("notes", notes)) if len(whole) > most
        }
        if left_out:
            answer["left_out"] = left_out
        if most == 0 or len(json.dumps(answer, default=str)) <= MOST_CHARACTERS:
            return answer
        most //= 2


def _notes_of(table: Table) -> list[str]:
    return [f"{name}: {note}" for name, note in table.notes]


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "kdsearch", *words]

"""The Python interface: the same names and the same numbers as the commands."""

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdsearch.analysis import BestAnswer, Comparison, Importance
from kdsearch.analysis.questions.forecast import Forecast
from kdsearch.analysis.questions.recommendation import Recommendation, recommend_from
from kdsearch.analysis.questions.verdicts import VerdictAnswer
from kdsearch.analysis.report.flat_rows import trial_row
from kdsearch.analysis.response.warm_start import load_earlier
from kdsearch.analysis.shown import frame_of
from kdsearch.analysis.stored_study import StoredStudy
from kdsearch.errors import RequestError
from kdsearch.intervals import LEVEL, TOLERANCE
from kdsearch.spec import Claim, Setup, StudySpec, load_spec
from kdsearch.storage import (
    Database,
    StudySummary,
    load_spec_of,
    load_study,
    open_database,
)

if TYPE_CHECKING:
    import optuna
    import pandas as pd
    import plotly.graph_objects as go

    from kdsearch.analysis.report.figures import Figure
    from kdsearch.schedule.launch import Watch

DEFAULT_STORAGE = "sqlite:///kdsearch.db"


def storage_url(storage: str | None = None) -> str:
    """Return the database's URL: the one given, else `KDSEARCH_STORAGE`, else a file here."""
    return storage or os.environ.get("KDSEARCH_STORAGE") or DEFAULT_STORAGE


def launch(
    spec: StudySpec | str | Path | Mapping[str, Any],
    *,
    storage: str | None = None,
    address: str | None = None,
    watch: "Watch | None" = None,
) -> "Study":
    """Run a study to its budget, or resume it, and return it.

    Args:
        spec: A checked spec, a path to one, or its document.
        storage: The database's URL; see `storage_url` for the default.
        address: A running Ray cluster; without one, an embedded cluster is started and stopped.
        watch: Is told about phases and progress.

    Raises:
        KeyboardInterrupt: The study was interrupted; the same call goes on.

    Example:
        >>> study = launch({
        ...     "name": "example",
        ...     "trainer": "kdsearch.bench.scale.trainer:train",  # a function of yours
        ...     "options": {"seconds": 0.1},
        ...     "setup": {"optimizer.name": ["sgd", "adamw"]},
        ...     "tune": {
        ...         "objective.temperature": {"low": 1, "high": 40, "log": True},
        ...         "optimizer.lr": {"low": 0.01, "high": 1, "log": True},
        ...     },
        ...     "search": {"trials": 16},
        ... })
        >>> study.summary().state
        'finished'
    """
    from kdsearch.schedule.launch import launch_study

    checked = spec if isinstance(spec, StudySpec) else load_spec(spec)
    url = storage_url(storage)
    if launch_study(checked, url, address=address, watch=watch) == "interrupted":
        raise KeyboardInterrupt
    return open_study(checked.name, storage=url)


def open_study(name: str, *, storage: str | None = None) -> "Study":
    """Return a study of the database.

    Args:
        name: The study's name.
        storage: The database's URL; see `storage_url` for the default.

    Raises:
        RequestError: There is no such database, or no such study in it.

    Example:
        >>> len(open_study("example", storage="sqlite:///kdsearch.db").trials())
        16
    """
    return Study(open_database(storage_url(storage)), name)


def recommend(
    setup: Mapping[str, Any],
    *,
    studies: Sequence[str] | None = None,
    storage: str | None = None,
    level: float = LEVEL,
    tolerance: float = TOLERANCE,
) -> Recommendation:
    """Return the temperature for a setup that need not have been run.

    Args:
        setup: Values by dotted path, such as `{"optimizer.name": "sgd", "training.epochs": 40}`.
        studies: The studies to draw from; by default all of the database.
        storage: The database's URL; see `storage_url` for the default.
        level: Probability of the intervals.
        tolerance: Accuracy that may be lost for a temperature to be called near-optimal.

    Raises:
        RequestError: A study, a path or a value is wrong, or a factor that matters is not given.
    """
    with open_database(storage_url(storage)) as database:
        earlier = load_earlier(database, studies)
    return recommend_from(earlier, setup, level=level, tolerance=tolerance)


class Study:
    """A study's answers and trials. Reads the database anew at each call; never writes.

    Answers print as tables, show themselves in notebooks, and have `to_frame()` for pandas.
    """

    def __init__(self, database: Database, name: str) -> None:
        self.name = name
        self._database = database
        load_spec_of(database, name)  # raises now where there is no such study

    def __repr__(self) -> str:
        done = self.summary().progress
        return (
            f"<Study {self.name}: {self.summary().state}, {done.finished} of {done.target} trials finished>"
        )

    def _repr_html_(self) -> str:
        from kdsearch.analysis.report.inks import html_of
        from kdsearch.analysis.report.listings import studies_table

        return f"{html_of(studies_table([self.summary()]))}\n{self.best()._repr_html_()}"

    @property
    def spec(self) -> StudySpec:
        """The spec as it was launched, with its ranges as widened since."""
        return load_spec_of(self._database, self.name)

    def best(
        self,
        by: Sequence[str] | None = None,
        where: Mapping[str, Any] | None = None,
        level: float = LEVEL,
        tolerance: float = TOLERANCE,
    ) -> BestAnswer:
        """Return the best temperature of each setup, or of some factors' levels.

        Args:
            by: Factors to answer for, averaging the accuracy over the others.
            where: Levels of factors to which the answers are restricted.
            level: Probability of the intervals.
            tolerance: Accuracy that may be lost for a temperature to be called near-optimal.

        Raises:
            RequestError: A factor or a level does not belong to the study.

        Example:
            >>> [answer] = study.best(where={"optimizer.name": "sgd"}).setups
            >>> 1 <= answer.temperature <= 40, answer.forecast.decided  # 8 trials decide nothing
            (True, False)
        """
        return self._stored().best(by=by, where=where, level=level, tolerance=tolerance)

    def compare(
        self, factor: str, where: Mapping[str, Any] | None = None, level: float = LEVEL
    ) -> Comparison:
        """Return whether the best temperature depends on a factor.

        Args:
            factor: Its dotted path.
            where: Levels of other factors to which the comparison is restricted.
            level: Probability of the intervals.

        Raises:
            RequestError: A factor or a level does not belong to the study.

        Example:
            >>> [pair] = study.compare("optimizer.name").pairs
            >>> pair.levels, 0 <= pair.probability <= 1
            (('sgd', 'adamw'), True)
        """
        return self._stored().compare(factor, where=where, level=level)

    def forecast(self, regret: float | None = None, where: Mapping[str, Any] | None = None) -> Forecast:
        """Return which setups are decided, and what the others still need.

        Args:
            regret: The accuracy that a recommended temperature may be expected to lose, a fraction; None for
                the study's own target, as in `best`.
            where: Levels of factors to which the forecast is restricted.

        Raises:
            RequestError: A factor or a level does not belong to the study.
        """
        return self._stored().forecast(regret=regret, where=where)

    def importance(self, where: Mapping[str, Any] | None = None, level: float = LEVEL) -> Importance:
        """Return what accuracy depends on: shares of its variation, in [0, 1].

        Args:
            where: Levels of factors to which the question is restricted.
            level: Probability of the intervals.

        Raises:
            RequestError: A factor or a level does not belong to the study.
        """
        return self._stored().importance(where=where, level=level)

    def verdict(self, claims: Sequence[Claim] | None = None) -> VerdictAnswer:
        """Return what the study says of its claims, or of other ones.

        Args:
            claims: What is claimed; None for the claims written with the study.
        """
        return self._stored().verdict(claims)

    def trials(self) -> "pd.DataFrame":
        """Return every trial, one row each. Setup and parameters have a column for each path."""
        return frame_of([trial_row(row) for row in self._stored().rows])

    def summary(self) -> StudySummary:
        """Return the study's state and its reason, progress and hours."""
        return load_study(self._database, self.name)

    def plot_response(self, setup: Setup | None = None) -> "go.Figure":
        """Return the figure of accuracy over temperature, of all setups or one.

        Args:
            setup: Levels by the factors' paths, as `best()` has them; None for all.

        Raises:
            RequestError: The study has no such setup.
        """
        from kdsearch.analysis.report.plots import plot_response

        stored = self._stored()
        rows = stored.rows
        known = stored.curves()
        curves = [curve for curve in known if setup in (None, curve.setup)]
        if not curves:
            setups = "; ".join(map(str, (curve.setup for curve in known)))
            raise RequestError(f"`setup` must be a setup of the study, got {setup!r}. Setups: {setups}.")
        return plot_response(curves, rows, stored.best())

    def figures(self, level: float = LEVEL, tolerance: float = TOLERANCE) -> "dict[str, Figure]":
        """Return every figure of the report by its title.

        Each is plain data, which page and report draw too: `.to_dict()`, or `.to_plotly()` to see it.

        Args:
            level: Probability of the intervals.
            tolerance: Accuracy that may be lost for a temperature to be called near-optimal.

        Example:
            >>> figure = study.figures()["Accuracy over temperature"]
            >>> figure.kind, [part.title for part in figure.parts]
            ('response', ['sgd', 'adamw'])
        """
        from kdsearch.analysis.report.contents import figure_sections, load_findings

        found = load_findings(self._database, self.name, level=level, tolerance=tolerance)
        return {section.figure.title: section.figure for section in figure_sections(found)}

    def report(self, path: str | Path) -> Path:
        """Write the report, one self-contained HTML file, and return its path.

        Args:
            path: The file, new or to be replaced.

        Raises:
            RequestError: It can't be written.
        """
        from kdsearch.analysis.report.file import write_report

        return write_report(self._database, self.name, Path(path))

    @cached_property
    def optuna(self) -> "optuna.Study":
        """The plain Optuna study."""
        from kdsearch.storage import load_optuna_study

        return load_optuna_study(self._database, self.name)

    def _stored(self) -> StoredStudy:
        return StoredStudy(self._database, self.name)

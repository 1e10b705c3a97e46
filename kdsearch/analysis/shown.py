"""Answers in Python: as a table at the prompt, and as a pandas frame."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kdsearch.errors import RequestError

if TYPE_CHECKING:
    import pandas as pd

    from kdsearch.analysis.report.tables import Table


class Shown:
    """An answer that shows itself as a table.

    The command line and the page draw the same one.
    """

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        raise NotImplementedError

    def table(self) -> "Table":
        """Return what every face shows of it: headings, and cells as text."""
        table, _ = _faces()[type(self)]
        return table(self)

    def rows(self) -> list[dict[str, Any]]:
        """Return its numbers as flat rows, the same as `--format csv`."""
        _, rows = _faces()[type(self)]
        return rows(self)

    def to_frame(self) -> "pd.DataFrame":
        """Return its numbers as a pandas DataFrame.

        There is a row for each setup, pair or effect.

        Raises:
            RequestError: pandas is not installed.
        """
        return frame_of(self.rows())

    def __repr__(self) -> str:
        from kdsearch.analysis.report.inks import text_of

        table = self.table()
        return "\n".join(
            [text_of(table), *([""] if table.notes else []), *(": ".join(n) for n in table.notes)]
        )

    def _repr_html_(self) -> str:
        from kdsearch.analysis.report.inks import html_of

        return html_of(self.table())


def frame_of(rows: Sequence[Mapping[str, Any]]) -> "pd.DataFrame":
    """Return flat rows as a pandas DataFrame.

    Raises:
        RequestError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise RequestError(
            "A DataFrame needs pandas, which is not installed. Install it: pip install pandas."
        ) from error
    return pd.DataFrame(list(rows))


def _faces() -> dict[type, tuple[Callable[[Any], "Table"], Callable[[Any], list[dict[str, Any]]]]]:
    """Return how each answer becomes a table and rows. Imported late, since those know the answers."""
    from kdsearch.analysis.questions.best import BestAnswer
    from kdsearch.analysis.questions.comparison import Comparison
    from kdsearch.analysis.questions.forecast import Forecast
    from kdsearch.analysis.questions.importance import Importance
    from kdsearch.analysis.questions.recommendation import Recommendation
    from kdsearch.analysis.questions.verdicts import VerdictAnswer
    from kdsearch.analysis.report import flat_rows, tables, verdict_tables

    return {
        BestAnswer: (tables.answer_table, flat_rows.answer_rows),
        Comparison: (tables.comparison_table, flat_rows.comparison_rows),
        Forecast: (tables.forecast_table, flat_rows.forecast_rows),
        Importance: (tables.importance_table, flat_rows.importance_rows),
        VerdictAnswer: (verdict_tables.verdict_table, flat_rows.verdict_rows),
        Recommendation: (tables.recommendation_table, flat_rows.recommendation_rows),
    }

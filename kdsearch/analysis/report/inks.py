"""One table drawn as text, Markdown, LaTeX and HTML."""

import textwrap
from collections.abc import Sequence
from html import escape

from rich.cells import cell_len

from kdsearch.analysis.report.tables import NEEDED, Heading, Table

_GAP = "  "
_LEAST_PROSE = 16
"""Prose in fewer columns is one word a line."""

_LATEX = {
    **{"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_"},
    **{"{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"±": r"$\pm$", "×": r"$\times$", "→": r"$\to$", "–": "--", "<": "$<$", ">": "$>$"},
}


def text_of(table: Table, width: int | None = None) -> str:
    """Return a table as text that breaks no number and no word.

    Columns of little worth are left out where there is no room for them, and named below the table. Where
    there is none for those that a row can't do without, each row becomes a few lines of its own.

    Args:
        table: The table.
        width: Columns of the terminal; None: as wide as the table needs to be.
    """
    columns = [_Column(h, [row[at] for row in table.rows]) for at, h in enumerate(table.headings)]
    kept = columns if width is None else _that_fit(columns, width)
    title = [] if not table.title else [*_lines(table.title, width), ""]
    if not kept:
        return "\n".join([*title, *_records(columns, width)])
    left_out = [column.heading.text for column in columns if column not in kept]
    closing = f"Left out at this width: {', '.join(left_out)}. All: --format csv." if left_out else ""
    return "\n".join([*title, *_grid(kept, width), *(["", *_lines(closing, width)] if closing else [])])


def markdown_of(table: Table, notes: Sequence[str] = ()) -> str:
    """Return a table in Markdown, its notes as a list below it."""
    rules = ["---:" if heading.kind == "number" else "---" for heading in table.headings]
    lines = [[heading.text for heading in table.headings], rules, *table.rows]
    text = "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
    return "\n".join([text, *(["", *(f"- {note}" for note in notes)] if notes else [])])


def latex_of(table: Table, notes: Sequence[str] = ()) -> str:
    """Return a table in LaTeX, with the rules of booktabs. Its notes stand below it."""
    columns = "".join("r" if heading.kind == "number" else "l" for heading in table.headings)
    heads = " & ".join(_latex(heading.text) for heading in table.headings)
    body = [" & ".join(_latex(_dashed(cell)) for cell in row) + r" \\" for row in table.rows]
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", heads + r" \\"]
    lines += [r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]
    return "\n".join([*lines, *(rf"\par\footnotesize {_latex(note)}" for note in notes)])


def html_of(table: Table) -> str:
    """Return a table as HTML for a notebook. All text is escaped."""
    heads = "".join(
        f'<th scope="col" title="{escape(h.title)}" style="text-align:{_side(h)}">{escape(h.text)}</th>'
        for h in table.headings
    )
    rows = [
        "".join(
            f'<td style="text-align:{_side(h)}">{_strong(cell, is_best=at == table.emphasis)}</td>'
            for at, (h, cell) in enumerate(zip(table.headings, row, strict=True))
        )
        for row in table.rows
    ]
    caption = f"<caption>{escape(table.title)}</caption>" if table.title else ""
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    notes = "".join(f"<li><b>{escape(name)}</b>: {escape(note)}</li>" for name, note in table.notes)
    below = f"\n<ul>{notes}</ul>" if notes else ""
    return f"<table>{caption}<thead><tr>{heads}</tr></thead><tbody>\n{body}\n</tbody></table>{below}"


class _Column:
    """A column on its way to text: its heading, its cells, and how wide it has to be."""

    def __init__(self, heading: Heading, cells: list[str]) -> None:
        self.heading = heading
        self.cells = cells
        self.natural = max([cell_len(heading.text), *map(cell_len, cells)])
        content = max(map(cell_len, cells), default=0)
        if heading.kind == "prose":
            words = max((cell_len(word) for cell in cells for word in cell.split()), default=0)
            content = min(content, max(_LEAST_PROSE, words))
        self.least = max([content, *(cell_len(part) for part in _parts(heading.text))])

    def heads(self, width: int) -> list[str]:
        """Return the heading in lines of a width."""
        return _wrapped(self.heading.text, width)


def _that_fit(columns: Sequence[_Column], width: int) -> list[_Column]:
    """Return the columns of most worth that fit side by side. None where the needed ones don't."""
    ranked = sorted(columns, key=lambda column: -column.heading.worth)
    kept: list[_Column] = []
    for column in ranked:
        if sum(own.least for own in (*kept, column)) + len(_GAP) * len(kept) <= width:
            kept.append(column)
        elif column.heading.worth >= NEEDED:
            return []
    return [column for column in columns if column in kept]


def _grid(columns: Sequence[_Column], width: int | None) -> list[str]:
    widths = [column.natural for column in columns] if width is None else _widths(columns, width)
    heads = [column.heads(own) for column, own in zip(columns, widths, strict=True)]
    height = max(map(len, heads), default=0)
    lines = [[([""] * (height - len(head)) + head)[at] for head in heads] for at in range(height)]
    total = sum(widths) + len(_GAP) * (len(widths) - 1)
    cells = [_row(columns, widths, at) for at in range(len(columns[0].cells))] if columns else []
    draw = [*lines, *(line for row in cells for line in row)]
    drawn = [_line(columns, widths, line) for line in draw]
    return [*drawn[:height], "─" * total, *drawn[height:]]


def _widths(columns: Sequence[_Column], width: int) -> list[int]:
    """Return each column's width: what it needs, and what is over to those that would break most."""
    widths = [column.least for column in columns]
    over = width - sum(widths) - len(_GAP) * (len(widths) - 1)
    while over > 0:
        most = max(range(len(columns)), key=lambda at: _height(columns[at], widths[at]))
        if _height(columns[most], widths[most]) <= 1:
            break
        widths[most] += 1
        over -= 1
    return widths


def _height(column: _Column, width: int) -> int:
    prose = column.cells if column.heading.kind == "prose" else ()
    return max([len(column.heads(width)), *(len(_wrapped(cell, width)) for cell in prose)])


def _row(columns: Sequence[_Column], widths: Sequence[int], at: int) -> list[list[str]]:
    """Return a row in as many lines as its prose takes."""
    cells = [
        _wrapped(column.cells[at], width) if column.heading.kind == "prose" else [column.cells[at]]
        for column, width in zip(columns, widths, strict=True)
    ]
    height = max(map(len, cells))
    return [[cell[line] if line < len(cell) else "" for cell in cells] for line in range(height)]


def _line(columns: Sequence[_Column], widths: Sequence[int], cells: Sequence[str]) -> str:
    parts = []
    for column, width, cell in zip(columns, widths, cells, strict=True):
        blank = " " * (width - cell_len(cell))
        parts.append(f"{blank}{cell}" if column.heading.kind == "number" else f"{cell}{blank}")
    return _GAP.join(parts).rstrip()


def _records(columns: Sequence[_Column], width: int | None) -> list[str]:
    """Return each row as lines of a heading and a cell."""
    lines: list[str] = []
    for at in range(len(columns[0].cells) if columns else 0):
        for column in columns:
            lines += _lines(f"{column.heading.text}: {column.cells[at]}", width)
        lines.append("")
    return lines[:-1]


def _lines(text: str, width: int | None) -> list[str]:
    return [text] if width is None else _wrapped(text, width)


def _wrapped(text: str, width: int) -> list[str]:
    """Return a text in lines broken between words, and after hyphens. A longer word has its own line."""
    return textwrap.wrap(text, max(width, 1), break_long_words=False) or [""]


def _parts(text: str) -> list[str]:
    """Return what can't be broken of a heading."""
    return _wrapped(text, 1)


def _dashed(cell: str) -> str:
    """Return a cell with an en dash in its ranges."""
    low, to, high = cell.partition(" to ")
    is_range = to and low[:1].isdigit() and high[:1].isdigit()
    return f"{low}–{high}" if is_range else cell


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _side(heading: Heading) -> str:
    return "right" if heading.kind == "number" else "left"


def _strong(cell: str, *, is_best: bool) -> str:
    return f"<b>{escape(cell)}</b>" if is_best else escape(cell)

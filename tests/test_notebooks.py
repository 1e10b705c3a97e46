"""The notebooks run from their first cell to their last.

What they end a cell with shows itself.
"""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted(Path("studies").glob("*.ipynb"))


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Return the value of a cell's last expression.

    A notebook shows it.
    """
    *body, last = ast.parse(source).body
    if not isinstance(last, ast.Expr):
        body.append(last)
    exec(compile(ast.Module(body, []), "cell", "exec"), names)
    return (
        eval(compile(ast.Expression(last.value), "cell", "eval"), names)
        if isinstance(last, ast.Expr)
        else None
    )


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_its_answers(notebook: Path) -> None:
    names: dict[str, Any] = {}
    cells = [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in cells)  # outputs would age
    shown = [run_cell("".join(cell["source"]), names) for cell in cells]
    for value in shown:
        assert "<" in value._repr_html_()
    tables, frame, figure, of_optuna = shown
    assert len(frame) == len(tables.answer.setups) == len(figure.layout.annotations) >= 5
    assert not frame["decided"].any()  # a few runs of one seed
    best = {found.setup["optimizer"]: round(found.temperature) for found in of_optuna.setups}
    assert best == {"sgd": 4, "adamw": 9}  # as the toy has it

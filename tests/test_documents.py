"""The documents: what they point to exists, and the numbers of the method are those of the code."""

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import kdsearch

DOCUMENTS = [
    Path("README.md"),
    Path("CONTRIBUTING.md"),
    Path("CHANGELOG.md"),
    *sorted(Path("docs").glob("*.md")),
]
METHOD = Path("docs/method.md").read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_its_links_exist(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_its_modules_exist(document: Path) -> None:
    named = re.findall(r"`(?:kdsearch/)?((?:[a-z_]+/)*[a-z_]+\.py)`", document.read_text())
    known = [f"/{path}" for room in ("kdsearch", "tests") for path in Path(room).rglob("*.py")]
    assert [name for name in named if not any(path.endswith(f"/{name}") for path in known)] == []


def found(dotted: str) -> Any:
    """Return what a dotted name below kdsearch stands for."""
    named: Any = kdsearch
    for name in dotted.split("."):
        inner = f"{named.__name__}.{name}"
        is_module = hasattr(named, "__path__") and find_spec(inner) is not None
        named = import_module(inner) if is_module else getattr(named, name)
    return named


def test_the_walks_of_the_architecture_name_what_exists() -> None:
    rooms = "|".join(sorted({path.stem for path in Path("kdsearch").iterdir() if path.stem[0] != "_"}))
    named = re.findall(rf"`((?:{rooms})(?:\.[A-Za-z_]+)+)`", Path("docs/architecture.md").read_text())
    walked = [name for name in named if not name.endswith(".py")]
    assert len(walked) > 25
    assert [name for name in walked if found(name) is None] == []


@pytest.mark.parametrize(
    ("text", "module", "constant", "value"),
    [
        ("moved away from their mean by a factor of 1.15", "analysis.response.fitted", "_SPREAD", 1.15),
        ("over 12 draws of the hyper-parameters", "analysis.response.fitted", "_HYPERPARAMETER_DRAWS", 12),
        ("with 32 surfaces each", "analysis.response.fitted", "_DRAWS_EACH", 32),
        ("from at most 240 observations", "analysis.response.fitting", "_FIT_CELLS", 240),
        ("more than about 700 places", "analysis.response.fitting", "_SOLVE_CELLS", 700),
        ("A soft floor** from 3 points", "analysis.response.observations", "SOFT_FLOOR", 3.0),
        ("median less 10 points", "analysis.response.observations", "_STOPPED_BELOW", 10.0),
        ("down to 80 points", "analysis.response.observations", "_DEEPEST", 80.0),
        ("more than 20 points below the top", "analysis.response.observations", "_COLLAPSED_BELOW", 20.0),
        ("moved out by 3% of the", "analysis.response.profiles", "_MOVED_OUT", 0.03),
        ("with 80% probability", "analysis.response.profiles", "_FLAT", 0.8),
        ("(25%, so that", "analysis.response.split_luck", "_SHARE", 0.25),
        ("1. 12 complete trials", "analysis.questions.decision", "ENOUGH_TO_DECIDE", 12),
        ("more than 2.5 times the target", "analysis.questions.decision", "_LARGE", 2.5),
        ("at most 5% probability", "analysis.questions.decision", "_CHANCE_OF_LARGE", 0.05),
        ("at most 10% probability", "analysis.questions.decision", "_CHANCE_ALONE", 0.1),
        ("at most 1.5 times the target of the same T", "analysis.questions.decision", "_EARLIER_REGRET", 1.5),
        ("costs at most 0.7 points", "analysis.questions.replication", "TUNED_POINTS", 0.7),
        ("over four quarters", "analysis.questions.replication", "REGIONS", 4),
        ("within 0.2\n   points of the best", "search.regions", "NEAR_POINTS", 0.2),
        ("every eighth trial goes", "search.regions", "_EXPLORES_EVERY", 8),
        ("below 60%", "search.balance", "_LEAST_SHARE", 0.6),
        ("above 160%", "search.balance", "_MOST_SHARE", 1.6),
        ("One in eight is trained on as an audit", "search.pruning", "AUDIT_EVERY", 8),
    ],
)
def test_the_method_has_the_numbers_of_the_code(text: str, module: str, constant: str, value: float) -> None:
    assert text in METHOD
    assert getattr(import_module(f"kdsearch.{module}"), constant) == pytest.approx(value)

"""Claims in a study file: what is wrong with one is found before anything starts."""

from pathlib import Path

import pytest

from kdsearch.errors import SpecError
from kdsearch.spec import load_spec, load_stored_spec, spec_document
from kdsearch.spec.claims_file import load_claims

BASE = {
    "name": "claimed",
    "setup": {"optimizer.name": ["sgd", "adamw"], "training.epochs": [10, 60]},
    "tune": {"objective.temperature": {"low": 1, "high": 40, "log": True}},
}
CLAIM = {
    "says": "longer wants hotter",
    "quantity": "best_temperature",
    "factor": "training.epochs",
    "levels": [10, 60],
    "where": {"optimizer.name": "sgd"},
    "direction": "higher",
    "at_least": 2,
}
CROSSING = {**CLAIM, "quantity": "crossing", "temperatures": [2, 8], "at_least": 0.003}
SHARED = {"says": "one is dear", "quantity": "shared_temperature", "direction": "higher", "at_least": 0.005}


def test_claims_are_kept_with_the_study_and_read_back() -> None:
    spec = load_spec({**BASE, "claims": [CLAIM, CROSSING, SHARED]})
    assert [claim.quantity for claim in spec.claims] == ["best_temperature", "crossing", "shared_temperature"]
    assert load_stored_spec(spec_document(spec)).claims == spec.claims


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        ({**CLAIM, "levels": [10, 61]}, "`claims.0.levels` must name levels of `training.epochs`, got 61"),
        ({**CLAIM, "factor": "training.batch_size"}, "`claims.0.factor` must name a factor under `setup`"),
        ({**CLAIM, "where": {"optimizer.name": "lion"}}, "`claims.0.where` must name levels of"),
        ({**CLAIM, "where": {"training.epochs": 10}}, "must not fix `training.epochs`"),
        ({**CLAIM, "at_least": 0.9}, "must have a ratio above 1 as `at_least`"),
        (
            {**CROSSING, "at_least": 0.5},
            "at most 0.1 as `at_least`, ten points, got 0.5. Divide points by 100",
        ),
        ({**CROSSING, "temperatures": [8, 2]}, "the lower one first"),
        ({**CROSSING, "temperatures": [2, 60]}, "must lie in the range of `objective.temperature`, got 60"),
        ({**CLAIM, "temperatures": [2, 8]}, "only crossing compares two of them"),
        ({**CLAIM, "levels": [10]}, "needs a `factor` and two `levels`"),
        ({**CLAIM, "levels": [10, 10]}, "must not name a level twice"),
        ({**SHARED, "direction": "lower"}, "never below 0"),
        ({**CLAIM, "probability": 95}, "below 1, such as 0.95, got 95"),
        ({**CLAIM, "says": " "}, "must be a sentence"),
        ({**CLAIM, "at_least": 200}, "`claims.0.at_least` must be below the ratio"),
        ({**SHARED, "factor": "training.epochs", "levels": [10]}, "one alone costs nothing"),
    ],
)
def test_a_claim_that_the_study_cannot_decide_is_refused_in_one_line(claim: dict, said: str) -> None:
    with pytest.raises(SpecError) as refused:
        load_spec({**BASE, "claims": [claim]})
    assert len(refused.value.problems) == 1
    assert said in refused.value.problems[0]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"says": "in other words", "probability": 0.9}, "is the same claim as `claims.0`"),
        ({"levels": CLAIM["levels"][::-1], "direction": "lower"}, "is the same claim as `claims.0`"),
        ({"direction": "lower"}, "must not stand beside `claims.0`, its opposite"),
        ({"levels": CLAIM["levels"][::-1]}, "must not stand beside `claims.0`, its opposite"),
        ({"direction": "none"}, "must not stand beside `claims.0`, its opposite"),
        ({"direction": "none", "at_least": 3}, None),
        ({"at_least": 3}, None),
        ({"where": {"optimizer.name": "adamw"}, "direction": "lower"}, None),
    ],
)
def test_no_claim_counts_twice_or_is_confirmed_whatever_is_true(changed: dict, said: str | None) -> None:
    document = {**BASE, "claims": [CLAIM, {**CLAIM, **changed}]}
    if said is None:
        assert len(load_spec(document).claims) == 2
        return
    with pytest.raises(SpecError) as refused:
        load_spec(document)
    assert [problem.startswith(f"`claims.1` {said}") for problem in refused.value.problems] == [True]


def test_claims_of_a_file_are_checked_against_the_study(tmp_path: Path) -> None:
    path = tmp_path / "later.yaml"
    path.write_text(
        "claims:\n- {says: dear, quantity: shared_temperature, direction: higher, at_least: 0.01}\n"
    )
    assert [claim.says for claim in load_claims(path, load_spec(BASE))] == ["dear"]
    path.write_text(
        "claims:\n- {says: no, quantity: shared_temperature, factor: a.b, direction: higher, at_least: 0.1}"
    )
    with pytest.raises(SpecError, match=r"claims\.0\.factor"):
        load_claims(path, load_spec(BASE))
    older = load_spec(BASE).model_copy(update={"options": {"width": 8}})  # what is refused by now
    path.write_text(
        "claims:\n- {says: dear, quantity: shared_temperature, direction: none, at_least: 0.01}\n"
    )
    assert len(load_claims(path, older)) == 1
    path.write_text(path.read_text() + "probabilty: 0.9\n")
    with pytest.raises(SpecError, match="`probabilty` is not a known key"):
        load_claims(path, older)
    path.write_text("name: none\n")
    with pytest.raises(SpecError, match="must have a list `claims`"):
        load_claims(path, load_spec(BASE))


@pytest.mark.parametrize(
    "path", sorted(Path("studies/paper").glob("f[0-9]*.yaml")), ids=lambda path: path.stem
)
def test_the_papers_studies_are_studies_that_claim_something(path: Path) -> None:
    spec = load_spec(path)
    assert spec.name == path.stem
    assert spec.claims

"""`kdsearch verdict`: the same numbers as Python, and claims that come later are told apart."""

import json
from pathlib import Path

import pytest

import kdsearch
from kdsearch.cli.main import run
from kdsearch.errors import RequestError
from kdsearch.spec import load_spec
from kdsearch.spec.claims_file import load_claims
from kdsearch.storage import StudyRecord, open_database
from kdsearch.trial import TrialResult

LATER = """
claims:
  - says: sgd wants at least one and a half times the temperature of adamw
    quantity: best_temperature
    factor: optimizer.name
    levels: [adamw, sgd]
    direction: higher
    at_least: 1.5
"""


@pytest.fixture
def later(tmp_path: Path) -> Path:
    path = tmp_path / "later.yaml"
    path.write_text(LATER)
    return path


def test_a_later_claim_is_judged_and_told_to_be_one(
    storage: str, later: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["verdict", "made", "--claims", str(later), "--storage", storage]
    assert run([*words, "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    study = kdsearch.open_study("made", storage=storage)
    assert document == json.loads(json.dumps(study.verdict(load_claims(later, study.spec)).to_dict()))
    assert document["written"] == "after 32 complete trials"
    assert run(words) == 0
    printed = capsys.readouterr().out
    assert document["verdicts"][0]["verdict"] in printed
    assert "written after 32 complete trials" in printed
    for form in ("csv", "markdown", "latex"):
        assert run([*words, "--format", form]) == 0
        assert "sgd wants" in capsys.readouterr().out


def test_an_answer_says_how_many_claims_were_weighed(
    storage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Chances add up: 0.05 and 0.2; one claim alone says nothing of others."""
    larger = LATER.split("claims:")[1].strip("\n").replace("at_least: 1.5", "at_least: 2")
    more = f"{LATER.rstrip()}\n{larger}\n    probability: 0.8\n"
    for text, says in ((more, "2 are weighed, each by itself"), (LATER, None)):
        (tmp_path / "c.yaml").write_text(text)
        words = ["verdict", "made", "--claims", str(tmp_path / "c.yaml"), "--storage", storage]
        assert run([*words, "--format", "markdown"]) == 0
        printed = capsys.readouterr().out
        assert ("weighed" in printed) == (says is not None)
        if says:
            assert (
                f"{says}: the chance that a verdict among them is wrong adds up, to 25% at most." in printed
            )


def test_a_study_without_claims_says_how_to_have_some(
    storage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["verdict", "made", "--storage", storage]) == 0
    assert "has no claims" in capsys.readouterr().out
    assert run(["verdict", "made", "--storage", storage, "--format", "csv"]) == 0
    assert "has no claims" in capsys.readouterr().err


def test_claims_of_a_launched_study_stay_as_they_are(tmp_path: Path) -> None:
    document = {
        "name": "claimed",
        "setup": {"optimizer.name": ["sgd", "adamw"]},
        "tune": {"objective.temperature": {"low": 1, "high": 40, "log": True}},
    }
    claim = {"says": "dear", "quantity": "shared_temperature", "direction": "higher", "at_least": 0.01}
    with open_database(f"sqlite:///{tmp_path}/c.db", create=True) as database:
        record = StudyRecord.open(database, load_spec({**document, "claims": [claim]}))
        (trial,) = record.start({"optimizer.name": "sgd"}, [{"objective.temperature": 2.0}], "p-0")
        record.finish(TrialResult(trial.number, "complete", 20, {"val_accuracy": 0.9}))
        StudyRecord.open(database, load_spec({**document, "claims": [claim]}))
        for other in ([], [{**claim, "at_least": 0.001}]):
            with pytest.raises(RequestError, match="written before any trial had finished"):
                StudyRecord.open(database, load_spec({**document, "claims": other}))

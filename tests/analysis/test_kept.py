"""An answer is kept under all that it was computed from.

It is never shown for anything else.
"""

import json
from dataclasses import replace

import pytest

from kdsearch.analysis import kept
from kdsearch.analysis.kept import KeptAnswers
from kdsearch.analysis.questions.best import best
from kdsearch.analysis.response.fitted import Response
from kdsearch.analysis.response.warm_start import EarlierStudy
from kdsearch.analysis.stored_study import StoredStudy
from kdsearch.artifacts.digests import sealed
from kdsearch.spec import TEMPERATURE, load_spec
from kdsearch.storage import StudyRecord, TrialColumns, load_columns, open_database
from kdsearch.trial import TrialResult

SPEC = load_spec(
    {
        "name": "demo",
        "setup": {"optimizer.name": ["sgd", "adamw"]},
        "tune": {TEMPERATURE: {"low": 1, "high": 40, "log": True}},
    }
)
SGD, ADAMW = SPEC.setups()
COLUMNS = TrialColumns(
    number=[0, 1],
    state=["complete", "complete"],
    reason=[None, None],
    setup=[SGD, ADAMW],
    params=[{TEMPERATURE: 2.0}, {TEMPERATURE: 4.0}],
    epochs=[20, 20],
    val_accuracy=[0.7, 0.8],
    test_accuracy=[0.7, None],
    seconds=[1.0, 1.0],
)
CHANGES = {
    "number": [0, 2],
    "state": ["complete", "failed"],
    "reason": [None, "diverged"],
    "setup": [SGD, SGD],
    "params": [{TEMPERATURE: 2.0}, {TEMPERATURE: 4.1}],
    "epochs": [20, 19],
    "val_accuracy": [0.7, 0.8000000000000002],
    "test_accuracy": [0.7, 0.7],
    "seconds": [1.0, 1.1],
}


@pytest.fixture(autouse=True)
def _keep_of_few(monkeypatch, tmp_path):
    monkeypatch.setattr(kept, "FEWEST_TRIALS", 2)
    monkeypatch.setenv("KDSEARCH_CACHE", str(tmp_path / "cache"))


def answered(value, *, spec=SPEC, columns=COLUMNS, earlier=(), slots=1.0, question=("best", None)):
    answers = KeptAnswers(spec, columns, earlier, slots)
    return answers.answer(list[float], list(question), lambda: [value])


def test_an_answer_is_computed_once():
    assert [answered(0.1 + 0.2), answered(2.0)] == [[0.1 + 0.2]] * 2


@pytest.mark.parametrize("name", TrialColumns.__dataclass_fields__)
def test_any_change_of_a_trial_is_answered_anew(name):
    answered(1.0)
    assert answered(2.0, columns=replace(COLUMNS, **{name: CHANGES[name]})) == [2.0]


@pytest.mark.parametrize(
    "change",
    [
        {"spec": load_spec({**SPEC.model_dump(mode="json"), "name": "other"})},
        {"earlier": [EarlierStudy(SPEC, [])]},
        {"slots": 2.0},
        {"question": ("best", ["optimizer.name"])},
    ],
)
def test_what_else_an_answer_depends_on_is_answered_anew(change):
    answered(1.0)
    assert answered(2.0, **change) == [2.0]


def test_another_version_of_the_code_answers_anew(monkeypatch):
    answered(1.0)
    monkeypatch.setattr(kept, "_CODE", "newer")
    assert answered(2.0) == [2.0]


@pytest.mark.parametrize("content", [b"", b"[1.5]", sealed(b"[1.5"), sealed(b'["a"]')])
def test_a_damaged_answer_is_none(content, tmp_path):
    answered(1.0)
    [file] = (tmp_path / "cache" / "answers").iterdir()
    file.write_bytes(content)
    assert [answered(2.0), answered(3.0)] == [[2.0]] * 2  # and the new one stands in its place


def test_what_reads_as_another_value_is_not_kept():
    assert [answered(float("nan")), answered(2.0)][1] == [2.0]


def test_without_a_folder_to_write_to_it_is_computed_each_time(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("KDSEARCH_CACHE", str(tmp_path / "file"))
    assert [answered(1.0), answered(2.0)] == [[1.0], [2.0]]


def test_a_user_without_a_home_is_answered(monkeypatch):
    def homeless(_path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("kdsearch.artifacts.store.Path.expanduser", homeless)
    assert [answered(1.0), answered(2.0)] == [[1.0], [2.0]]


def test_the_oldest_answers_make_room(monkeypatch, tmp_path):
    monkeypatch.setattr(kept, "_MOST_BYTES", 100)
    for n in range(4):
        answered(float(n), slots=float(n))
    assert len(list((tmp_path / "cache" / "answers").iterdir())) == 2
    assert answered(9.0, slots=3.0) == [3.0]


@pytest.fixture
def stored(tmp_path):
    with open_database(f"sqlite:///{tmp_path}/a.db", create=True) as database:
        record = StudyRecord.open(database, SPEC)
        for at, setup in enumerate((SGD, ADAMW)):
            store(record, setup, f"p{at}", [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 3.0])
        yield database, record


def store(record, setup, pack, temperatures):
    points = [{TEMPERATURE: temperature} for temperature in temperatures]
    for trial in record.start(setup, points, pack):
        accuracy = 0.9 - 0.01 * abs(trial.params[TEMPERATURE] - 4.0) / (trial.number + 9)
        metrics = {"val_accuracy": accuracy, "test_accuracy": accuracy}
        record.finish(TrialResult(trial.number, "complete", 20, metrics, seconds=1.0))


def documents(study):
    asked = [study.best(), study.best(by="optimizer.name"), study.compare("optimizer.name")]
    asked += [study.forecast(), study.importance(), study.verdict()]
    return [json.dumps(found.to_dict()) for found in asked] + [repr(study.curves())]


def test_every_answer_is_read_as_it_was_computed(stored, monkeypatch):
    database, _ = stored
    computed = documents(StoredStudy(database, "demo"))
    unused = property(lambda _self: pytest.fail("it was computed again"))
    monkeypatch.setattr(StoredStudy, "response", unused)
    assert documents(StoredStudy(database, "demo")) == computed


def test_a_kept_answer_never_hides_newer_trials(stored):
    database, record = stored
    before = StoredStudy(database, "demo").best()
    store(record, SGD, "p2", [20.0, 24.0])
    after = StoredStudy(database, "demo").best()
    expected = best(SPEC, load_columns(database, "demo"))
    assert [found.temperature for found in after.setups] == [found.temperature for found in expected.setups]
    assert [found.trials for found in after.setups] != [found.trials for found in before.setups]


def test_how_the_study_is_now_stands_beside_kept_answers(stored, monkeypatch):
    database, record = stored
    assert StoredStudy(database, "demo").best().state != "finished"
    record.set_state("finished", "all trials are done")
    monkeypatch.setattr(Response, "profile", lambda *_: pytest.fail("it was computed again"))
    assert StoredStudy(database, "demo").best().state == "finished"

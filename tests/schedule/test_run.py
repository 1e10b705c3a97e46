"""The driver's side of a study, without Ray: packs are asked and told as Tune would."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdsearch.analysis import best
from kdsearch.errors import RunError
from kdsearch.schedule.failures import FIRST_FAILURES
from kdsearch.schedule.run import StudyRun
from kdsearch.search import PackAsker
from kdsearch.spec import load_spec
from kdsearch.storage import StudyRecord, hold_lease, load_study, open_database
from kdsearch.trial import Trial, TrialResult

SPEC = {
    "name": "driven",
    "training": {"epochs": 4},
    "tune": {"objective.temperature": {"low": 1, "high": 40, "log": True}},
    "search": {"trials": 24, "pack": 8, "sampler": "qmc", "pruner": "none"},
}


@pytest.fixture
def run(tmp_path: Path) -> Iterator[StudyRun]:
    spec = load_spec(SPEC)
    url = f"sqlite:///{tmp_path}/studies.db"
    with open_database(url, create=True) as database, hold_lease(database, spec.name) as lease:
        record = StudyRecord.open(database, spec, lease=lease)
        yield StudyRun(spec, record, PackAsker(spec, record), lease)


def test_packs_that_are_lost_and_run_again_are_no_failures(run: StudyRun) -> None:
    packs = [run.next_pack() for _ in range(3)]
    for pack in packs:
        assert pack is not None
        run.end_pack(pack, "its node was lost")
    finished = 0
    while (pack := run.next_pack()) is not None:
        run.take_results([TrialResult(t.number, "complete", 4, {"val_accuracy": 0.5}) for t in pack.trials])
        run.end_pack(pack, "it was stopped")
        finished += len(pack.trials)
    assert finished == 24
    assert run.finished
    assert run.spent == "all 24 trials are done"


def test_a_study_whose_packs_are_always_lost_ends_and_says_why(run: StudyRun) -> None:
    for _ in range(6):  # two packs, each three times
        pack = run.next_pack()
        assert pack is not None
        run.end_pack(pack, "its worker was killed")
    with pytest.raises(
        RunError, match=r"16 trials failed and 0 finished\. 16 of them: its worker was killed"
    ):
        run.next_pack()


def test_a_study_most_of_whose_trials_fail_ends_and_says_why(run: StudyRun) -> None:
    pack, other = run.next_pack(), run.next_pack()
    assert pack is not None
    assert other is not None
    failed = [TrialResult(t.number, "failed", 0, reason="ValueError: no") for t in pack.trials]
    run.take_results(failed)
    run.end_pack(pack, "it was stopped")
    assert run.next_pack() is not None  # 8 may be chance
    run.take_results([TrialResult(t.number, "failed", 0, reason="ValueError: no") for t in other.trials])
    with pytest.raises(RunError, match=r"16 trials failed and 0 finished\. 16 of them: ValueError: no"):
        run.next_pack()


def test_a_setup_that_only_fails_is_set_aside_and_the_others_get_its_trials(tmp_path: Path) -> None:
    spec = load_spec(
        {
            **SPEC,
            "trainer": "mine:train",
            "setup": {"options.model": ["broken", "small", "large"]},
            "search": {"trials": 24, "pack": 2},
        }
    )
    url = f"sqlite:///{tmp_path}/studies.db"
    with open_database(url, create=True) as database, hold_lease(database, spec.name) as lease:
        record = StudyRecord.open(database, spec, lease=lease)
        run = StudyRun(spec, record, PackAsker(spec, record), lease)
        while (pack := run.next_pack()) is not None:
            run.take_results([ended(trial) for trial in pack.trials])
            run.end_pack(pack, "it was stopped")
        assert (run.finished, run.spent) == (True, "all 24 trials are done")
        done = Counter(row.setup["options.model"] for row in record.trials() if row.state == "complete")
        answers = best(spec, record.trials()).of_study(load_study(database, spec.name)).setups
    assert (done.total(), min(done["small"], done["large"]) >= 8) == (24, True)
    assert sum(row.state == "failed" for row in record.trials()) == FIRST_FAILURES
    reason = "set aside: 4 of its trials failed and 0 finished, 4 of them: RuntimeError: no such model"
    assert (answers[0].temperature, answers[0].reason) == (None, reason)
    assert all(answer.temperature is not None for answer in answers[1:])


def ended(trial: Trial) -> TrialResult:
    if trial.setup["options.model"] == "broken":
        return TrialResult(trial.number, "failed", 0, reason="RuntimeError: no such model")
    return TrialResult(trial.number, "complete", 4, {"val_accuracy": 0.5 + 0.001 * (trial.number % 3)})


def test_a_study_all_of_whose_setups_are_set_aside_has_failed(tmp_path: Path) -> None:
    spec = load_spec({**SPEC, "trainer": "mine:train", "setup": {"options.model": ["a", "b"]}})
    url = f"sqlite:///{tmp_path}/studies.db"
    with open_database(url, create=True) as database, hold_lease(database, spec.name) as lease:
        record = StudyRecord.open(database, spec, lease=lease)
        run = StudyRun(spec, record, PackAsker(spec, record), lease)
        with pytest.raises(RunError, match=r"trials failed and 0 finished\. .* of them: ValueError: no"):
            fail_all(run)


def fail_all(run: StudyRun) -> None:
    while (pack := run.next_pack()) is not None:
        run.take_results([TrialResult(t.number, "failed", 0, reason="ValueError: no") for t in pack.trials])

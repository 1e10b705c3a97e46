"""The record of a study: the same promises on both databases."""

import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from optuna.trial import TrialState

from kdsearch.errors import RequestError
from kdsearch.spec import StudySpec
from kdsearch.storage import (
    Database,
    StudyRecord,
    load_epochs,
    load_spec_of,
    open_database,
)
from kdsearch.storage.rows.entries import NewTrial
from kdsearch.storage.rows.study import ensure_study
from kdsearch.trial import TrialResult

POINT = {"objective.temperature": 3.0, "optimizer.lr": 0.1}


@pytest.fixture
def record(database: Database, spec: StudySpec) -> StudyRecord:
    return StudyRecord.open(database, spec)


def points(count: int) -> list[dict[str, float]]:
    return [{**POINT, "objective.temperature": 2.0 + number} for number in range(count)]


def complete(number: int, accuracy: float = 0.9, **metrics: float) -> TrialResult:
    return TrialResult(number, "complete", 20, {"val_accuracy": accuracy, **metrics}, seconds=1.5)


class TestStart:
    def test_a_trial_is_running_in_both_halves_before_it_trains(
        self, record: StudyRecord, spec: StudySpec
    ) -> None:
        setup = spec.setups()[1]
        trials = record.start(setup, points(3), "p1")
        assert [t.number for t in trials] == [0, 1, 2]
        assert trials[2].spec == spec.resolve(setup, points(3)[2])
        assert [(r.state, r.setup, r.params, r.pack) for r in record.trials()] == [
            ("running", setup, params, "p1") for params in points(3)
        ]
        frozen = record.optuna.get_trials()
        assert {t.state for t in frozen} == {TrialState.RUNNING}
        assert [t.params for t in frozen] == [{**setup, **params} for params in points(3)]

    def test_values_are_recorded_exactly(self, record: StudyRecord, spec: StudySpec) -> None:
        odd = {"objective.temperature": 1 / 3 + 1, "optimizer.lr": math.pi / 100}
        record.start(spec.setups()[0], [odd], "p1")
        assert record.trials()[0].params == odd
        assert {k: record.optuna.trials[0].params[k] for k in odd} == odd

    def test_rounding_over_an_edge_is_put_back(self, record: StudyRecord, spec: StudySpec) -> None:
        over = math.exp(math.log(40)) * (1 + 1e-15)
        record.start(spec.setups()[0], [{**POINT, "objective.temperature": over}], "p1")
        assert record.trials()[0].params["objective.temperature"] == 40

    @pytest.mark.parametrize(
        "wrong", [{"objective.temperature": 3.0}, {**POINT, "optimizer.lr": 2.0}, {**POINT, "x": 1}]
    )
    def test_a_wrong_point_writes_nothing(
        self, record: StudyRecord, spec: StudySpec, wrong: dict[str, float]
    ) -> None:
        with pytest.raises(ValueError, match="must"):
            record.start(spec.setups()[0], [POINT, wrong], "p1")
        assert record.trials() == []
        assert record.optuna.get_trials() == []

    def test_seeds_follow_from_the_search_seed_and_the_number(
        self, database: Database, make_spec: Callable[..., StudySpec]
    ) -> None:
        spec = make_spec(search={"trials": 12, "seed": 7})
        record = StudyRecord.open(database, spec)
        assert [t.seed for t in record.start(spec.setups()[0], points(2), "p1")] == [7_000_000, 7_000_001]
        assert [t.seed for t in record.start(spec.setups()[0], points(2), "p1", seeds=[5, 5])] == [5, 5]

    def test_ranges_of_different_kinds_live_beside_each_other(
        self, database: Database, make_spec: Callable[..., StudySpec]
    ) -> None:
        by = {
            "by": "optimizer.name",
            "sgd": {"low": 0.01, "high": 1.0, "log": True},
            "adamw": {"choices": [0.001, 0.002]},
        }
        tune = {"objective.temperature": {"low": 1, "high": 40, "log": True}, "optimizer.lr": by}
        spec = make_spec(tune=tune)
        record = StudyRecord.open(database, spec)
        for setup, rate in zip(spec.setups()[1:3], (0.5, 0.002), strict=True):
            record.start(setup, [{"objective.temperature": 2.0, "optimizer.lr": rate}], "p1")
        record.recover()
        taken = record.take_waiting(4, "p2") + record.take_waiting(4, "p3")
        assert [t.params["optimizer.lr"] for t in taken] == [0.5, 0.002]

    def test_a_level_may_be_a_recipe(self, database: Database, make_spec: Callable[..., StudySpec]) -> None:
        recipes = ["none", {"dataset": "digits", "epochs": 3}]
        spec = make_spec(
            setup={"teacher.pretraining": recipes},
            tune={"objective.temperature": {"low": 1, "high": 40, "log": True}},
        )
        record = StudyRecord.open(database, spec)
        record.start(spec.setups()[1], [{"objective.temperature": 2.0}], "p1")
        record.recover()
        assert record.take_waiting(1, "p2")[0].setup == spec.setups()[1]


class TestMadeByTwo:
    """Who submits a study makes its rows while its driver may begin."""

    @pytest.mark.postgres
    def test_of_two_that_make_a_study_at_once_one_waits_and_has_it_too(
        self, postgres_prepared: str, make_spec: Callable[..., StudySpec]
    ) -> None:
        spec, found = make_spec(name="by_two"), []
        with open_database(postgres_prepared) as database:
            second = threading.Thread(target=lambda: found.append(StudyRecord.open(database, spec)))
            with database.write() as first:
                ensure_study(first, spec, Path(), {}, {})
                pid = first.scalar(sa.text("SELECT pg_backend_pid()"))
                second.start()
                query = sa.text(
                    "SELECT 1 FROM pg_locks WHERE NOT granted AND :pid = ANY (pg_blocking_pids(pid))"
                )
                with database.read() as connection:
                    while connection.scalar(query, {"pid": pid}) is None:
                        assert second.is_alive()
                        time.sleep(0.01)
            second.join()
            assert [record.spec.name for record in found] == ["by_two"]

    def test_optunas_half_that_another_has_just_made_is_the_study(
        self, database: Database, spec: StudySpec, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        StudyRecord.open(database, spec).start(spec.setups()[0], points(1), "p1")
        monkeypatch.setattr("kdsearch.storage.mirror.store.optuna_name", lambda *_: None)  # asked too early
        assert len(StudyRecord.open(database, spec).optuna.trials) == 1


class TestDraws:
    @pytest.fixture
    def varied(self, database: Database, make_spec: Callable[..., StudySpec]) -> StudyRecord:
        return StudyRecord.open(database, make_spec(training={"epochs": 20, "vary": ["order", "split"]}))

    def test_each_pack_of_a_setup_draws_the_next_luck_and_its_trials_share_it(
        self, varied: StudyRecord
    ) -> None:
        first, second = varied.spec.setups()[:2]
        packs = [varied.start(setup, points(2), f"p{n}") for n, setup in enumerate((first, first, second))]
        assert [{t.draw for t in pack} for pack in packs] == [{0}, {1}, {0}]
        assert [row.draw for row in varied.trials()] == [0, 0, 1, 1, 0, 0]
        drawn = [(t.spec.dataset.split_seed, t.spec.training.order_seed) for t in packs[1]]
        assert drawn == [(1, 1), (1, 1)]
        assert packs[0][0].spec.training.view_seed == packs[1][0].spec.training.view_seed == 0

    def test_what_is_run_again_keeps_its_luck(self, varied: StudyRecord) -> None:
        setup = varied.spec.setups()[0]
        started = [varied.start(setup, points(2), f"p{n}") for n in range(2)]
        varied.recover()
        again = [varied.take_waiting(4, f"q{n}") for n in range(2)]
        assert [[(t.seed, t.spec) for t in pack] for pack in again] == [
            [(t.seed, t.spec) for t in pack] for pack in started
        ]
        assert [row.draw for row in varied.trials()] == [0, 0, 1, 1], "under their own numbers"

    def test_what_was_enqueued_by_hand_draws_when_it_is_run(self, varied: StudyRecord) -> None:
        setup = varied.spec.setups()[0]
        varied.start(setup, points(1), "p1")
        for point in points(2):
            varied.optuna.enqueue_trial({**setup, **point})
        assert [(t.draw, t.spec.dataset.split_seed) for t in varied.take_waiting(4, "p2")] == [(1, 1), (1, 1)]
        assert [row.draw for row in varied.trials()] == [0, 1, 1]

    def test_what_a_kill_left_in_optuna_alone_keeps_its_luck(self, varied: StudyRecord) -> None:
        setup = varied.spec.setups()[0]
        varied.start(setup, points(1), "p1")
        stray = NewTrial.of(varied.spec, setup, points(1)[0], pack="p2", draw=1)
        varied._halves.mirror.add([stray], state="running")
        varied.recover()
        assert sorted((t.draw, t.pack) for t in varied.trials()) == [(0, "p1"), (1, "p2")]

    def test_a_study_that_varies_nothing_draws_nothing(self, record: StudyRecord, spec: StudySpec) -> None:
        (trial,) = record.start(spec.setups()[0], [POINT], "p1")
        assert (trial.draw, record.trials()[0].draw) == (None, None)


class TestReportAndFinish:
    def test_every_epoch_is_kept_and_the_dashboard_gets_a_thinned_curve(
        self, database: Database, record: StudyRecord, spec: StudySpec
    ) -> None:
        (trial,) = record.start(spec.setups()[0], [POINT], "p1")
        for epoch in range(1, 21):
            record.report(epoch, {trial.number: {"val_accuracy": epoch / 40, "val_loss": 1.0}})
        epochs = load_epochs(database, spec.name)
        assert [(e.epoch, e.val_accuracy, e.train_loss) for e in epochs] == [
            (n, n / 40, None) for n in range(1, 21)
        ]
        assert record.curves([trial.number])[trial.number][20] == 0.5
        assert list(record.optuna.trials[0].intermediate_values) == list(range(2, 21, 2))
        assert record.trials()[0].epochs == 20

    def test_a_batch_is_kept_whole_and_the_dashboard_gets_one_point_of_it(
        self, database: Database, record: StudyRecord, spec: StudySpec
    ) -> None:
        record.start(spec.setups()[0], [POINT] * 3, "p1")
        record.finish(TrialResult(2, "complete", 1, {"val_accuracy": 0.9}))
        batches = [[1, 2], [3, 4, 5], [5, 4]]  # the last one comes again, turned round
        for batch in batches:
            record.report_all([(e, {n: {"val_accuracy": e / 10 + n / 100} for n in range(3)}) for e in batch])
        kept = [(row.number, row.epoch, row.val_accuracy) for row in load_epochs(database, spec.name)]
        assert kept == [(n, e, e / 10 + n / 100) for n in (0, 1) for e in range(1, 6)]
        assert [row.epochs for row in record.trials()] == [5, 5, 1]
        assert [list(trial.intermediate_values) for trial in record.optuna.trials] == [[2, 4], [2, 4], [1]]

    def test_results_of_a_pack_are_recorded_together(self, record: StudyRecord, spec: StudySpec) -> None:
        record.start(spec.setups()[0], [POINT] * 3, "p1")
        again = TrialResult(1, "failed", 3, reason="too late")
        done = [TrialResult(n, "complete", 4, {"val_accuracy": n / 10}) for n in (1, 2)]
        record.finish(*done)
        record.finish(again, TrialResult(0, "failed", 2, reason="diverged"))
        assert [(row.state, row.epochs) for row in record.trials()] == [
            ("failed", 2),
            ("complete", 4),
            ("complete", 4),
        ]
        assert [trial.state.name for trial in record.optuna.trials] == ["FAIL", "COMPLETE", "COMPLETE"]

    def test_a_report_that_comes_twice_changes_nothing(
        self, database: Database, record: StudyRecord, spec: StudySpec
    ) -> None:
        record.start(spec.setups()[0], points(2), "p1")
        record.report(2, {0: {"val_accuracy": 0.2}, 1: {"val_accuracy": 0.3}})
        record.report(2, {0: {"val_accuracy": 0.9}, 1: {"val_accuracy": 0.9}})
        record.report(1, {0: {"val_accuracy": 0.1}})
        assert record.curves([0, 1]) == {0: {1: 0.1, 2: 0.2}, 1: {2: 0.3}}
        assert record.trials()[0].epochs == 2

    def test_results_are_recorded_as_what_they_are(self, record: StudyRecord, spec: StudySpec) -> None:
        record.start(spec.setups()[0], points(4), "p1")
        record.report(5, {1: {"val_accuracy": 0.4}})
        record.finish(complete(0, 0.9, test_accuracy=0.8, val_loss=0.1, f1=0.7))
        record.finish(TrialResult(1, "pruned", 5, {"val_accuracy": 0.4}, reason="hopeless"))
        record.finish(TrialResult(2, "failed", 3, {"val_accuracy": 0.1}, reason="diverged"))
        record.finish(TrialResult(3, "failed", 0, reason="out of memory"))
        rows = record.trials()
        assert [(r.state, r.reason, r.epochs) for r in rows] == [
            ("complete", None, 20),
            ("pruned", "hopeless", 5),
            ("failed", "diverged", 3),
            ("failed", "out of memory", 0),
        ]
        assert (rows[0].test_accuracy, rows[0].val_loss, rows[0].seconds) == (0.8, 0.1, 1.5)
        trials = record.optuna.get_trials()
        states = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.FAIL]
        assert [t.state for t in trials] == states
        assert [t.value for t in trials] == [0.9, 0.4, None, None]
        assert trials[2].user_attrs["reason"] == "diverged"
        progress = record.progress()
        assert (progress.complete, progress.pruned, progress.diverged, progress.failed) == (1, 1, 1, 1)
        assert record.finished_count() == 3

    @pytest.mark.parametrize("accuracy", [math.nan, math.inf])
    def test_an_accuracy_that_is_not_finite_has_diverged(
        self, record: StudyRecord, spec: StudySpec, accuracy: float
    ) -> None:
        record.start(spec.setups()[0], [POINT], "p1")
        record.report(2, {0: {"val_accuracy": accuracy}})
        record.finish(complete(0, accuracy, val_loss=math.nan))
        (row,) = record.trials()
        assert (row.state, row.reason, row.val_accuracy, row.val_loss) == ("failed", "diverged", None, None)
        assert record.optuna.trials[0].state == TrialState.FAIL

    def test_a_result_without_accuracy_is_a_failure_in_words(
        self, record: StudyRecord, spec: StudySpec
    ) -> None:
        record.start(spec.setups()[0], [POINT], "p1")
        record.finish(TrialResult(0, "complete", 20))
        assert record.trials()[0].reason == "its trainer gave no val_accuracy"

    def test_what_ended_stays_as_it_is(self, record: StudyRecord, spec: StudySpec) -> None:
        record.start(spec.setups()[0], points(2), "p1")
        record.finish(complete(0))
        record.lose([1], "its worker ended")
        before = record.trials(), record.optuna.get_trials()
        record.finish(complete(0, 0.1))
        record.finish(complete(1, 0.1))
        record.report(3, {0: {"val_accuracy": 0.1}, 1: {"val_accuracy": 0.1}})
        assert (record.trials(), record.optuna.get_trials()) == before

    def test_a_trial_ended_by_hand_in_optuna_is_still_recorded(
        self, record: StudyRecord, spec: StudySpec
    ) -> None:
        record.start(spec.setups()[0], [POINT], "p1")
        record.optuna.tell(0, state=TrialState.FAIL)
        record.report(2, {0: {"val_accuracy": 0.1}})
        record.finish(complete(0))
        assert record.trials()[0].state == "complete"


class TestGoingOn:
    def test_running_trials_wait_to_be_run_again_under_their_seed(
        self, database: Database, spec: StudySpec
    ) -> None:
        first = StudyRecord.open(database, spec)
        first.start(spec.setups()[2], [{**POINT, "optimizer.lr": 0.01}] * 2, "p1")
        first.report(3, {0: {"val_accuracy": 0.5}, 1: {"val_accuracy": 0.5}})
        first.finish(complete(0))
        second = StudyRecord.open(database, spec)
        second.recover()
        rows = second.trials()
        assert [(r.state, r.reason, r.epochs) for r in rows] == [("complete", None, 20), ("waiting", None, 0)]
        assert load_epochs(database, spec.name, [1]) == []
        assert second.optuna.trials[1].state == TrialState.WAITING
        (again,) = second.take_waiting(4, "p2")
        assert (again.number, again.seed, again.params) == (1, 1, rows[1].params)
        assert second.optuna.trials[1].state == TrialState.RUNNING
        second.finish(complete(1))
        assert second.finished_count() == 2
        assert not [t for t in second.optuna.get_trials() if not t.state.is_finished()]

    def test_recovering_twice_changes_nothing(self, record: StudyRecord, spec: StudySpec) -> None:
        record.start(spec.setups()[0], points(3), "p1")
        record.recover()
        before = record.trials(), record.optuna.get_trials()
        record.recover()
        assert (record.trials(), record.optuna.get_trials()) == before

    @pytest.mark.parametrize("ending", ["recover", "its node was lost"])
    def test_what_is_not_the_trials_doing_is_no_attempt(
        self, record: StudyRecord, spec: StudySpec, ending: str
    ) -> None:
        (trial,) = record.start(spec.setups()[0], [POINT], "p1")
        for attempt in range(5):
            record.recover() if ending == "recover" else record.lose([trial.number], ending)
            (trial,) = record.take_waiting(1, f"again{attempt}")
        record.finish(complete(trial.number))
        assert record.finished_count() == 1

    def test_a_trial_is_given_up_after_three_attempts(self, record: StudyRecord, spec: StudySpec) -> None:
        (trial,) = record.start(spec.setups()[0], [POINT], "p1")
        for attempt in range(3):
            record.lose([trial.number], "its worker was killed")
            if taken := record.take_waiting(1, f"again{attempt}"):
                (trial,) = taken
        assert taken == []
        rows = record.trials()
        assert [r.state for r in rows] == ["failed"] * 3
        assert {r.seed for r in rows} == {0}
        told = "lost 3 times without coming further; the last time: its worker was killed"
        assert rows[2].reason == told

    @pytest.mark.parametrize(
        ("reached", "lives"),
        [
            ([3, 6, 9, 12], True),
            ([3, 3, 3], True),
            ([3, 3, 3, 3], False),
            ([3, 9, 3, 8, 9], False),  # each time from its beginning
            ([3, 9, 3, 8, 10, 10], True),
        ],
    )
    def test_attempts_count_anew_for_a_trial_that_comes_further(
        self, record: StudyRecord, spec: StudySpec, reached: list[int], lives: bool
    ) -> None:
        (trial,) = record.start(spec.setups()[0], [POINT], "p1")
        for attempt, epoch in enumerate(reached):
            record.report(epoch, {trial.number: {"val_accuracy": 0.5}})
            record.lose([trial.number], "its worker was killed")
            taken = record.take_waiting(1, f"again{attempt}")
            if taken:
                (trial,) = taken
        assert bool(taken) is lives
        assert record.trials()[-1].state == ("running" if lives else "failed")

    def test_lost_trials_go_together_as_they_did(self, record: StudyRecord, spec: StudySpec) -> None:
        started = [record.start(spec.setups()[0], points(n), f"p{n}") for n in (2, 3)]
        started.append(record.start(spec.setups()[1], points(2), "p4"))
        record.recover()
        packs = [record.take_waiting(3, f"q{n}") for n in range(4)]
        assert [[(t.setup, t.seed) for t in pack] for pack in packs[:3]] == [
            [(t.setup, t.seed) for t in pack] for pack in started
        ]
        assert packs[3] == []
        record.start(spec.setups()[0], points(1), "p00012")
        assert record.last_pack() == 12

    def test_trials_enqueued_by_hand_go_together_by_setup(self, record: StudyRecord, spec: StudySpec) -> None:
        for setup in (0, 1, 0):
            record.optuna.enqueue_trial({**spec.setups()[setup], **points(1)[0]})
        packs = [record.take_waiting(3, f"q{n}") for n in range(3)]
        assert [[t.setup for t in pack] for pack in packs] == [[spec.setups()[0]] * 2, [spec.setups()[1]], []]

    def test_what_may_change_changes(self, database: Database, make_spec: Callable[..., StudySpec]) -> None:
        StudyRecord.open(database, make_spec())
        more = make_spec(
            search={"trials": 99, "sampler": "random", "pruner": "none", "pack": 2},
            resources={"cpus_per_pack": 2},
            artifacts="elsewhere",
        )
        record = StudyRecord.open(database, more)
        assert record.progress().target == 99
        assert load_spec_of(database, "tiny") == more

    def test_another_spec_is_refused_by_path(
        self, database: Database, make_spec: Callable[..., StudySpec]
    ) -> None:
        record = StudyRecord.open(database, make_spec())
        (trial,) = record.start(record.spec.setups()[0], [POINT], "p1")
        record.finish(TrialResult(trial.number, "complete", 20, {"val_accuracy": 0.9}))
        setup = {"optimizer.name": ["sgd", "adamw"], "teacher.finetune.epochs": [2]}
        other = make_spec(training={"epochs": 30}, setup=setup, search={"trials": 50})
        with pytest.raises(RequestError) as caught:
            StudyRecord.open(database, other)
        message = str(caught.value)
        assert "`training.epochs` was 20, is 30" in message
        assert "`setup.teacher.finetune.epochs` was [2, 20], is [2]" in message
        assert "search.trials` was" not in message
        assert load_spec_of(database, "tiny") == make_spec()

    def test_versions_and_commits_are_kept_where_they_change(
        self, database: Database, spec: StudySpec, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def versions() -> list[dict[str, Any]]:
            with database.read() as connection:
                return list(connection.exec_driver_sql("SELECT git_commit, versions FROM kd_study").one())

        monkeypatch.setattr("kdsearch.storage.rows.study.git_commit", lambda folder: "a" * 40)
        StudyRecord.open(database, spec)
        StudyRecord.open(database, spec)
        monkeypatch.setattr("kdsearch.storage.rows.study.git_commit", lambda folder: "b" * 40 + "+changes")
        StudyRecord.open(database, spec)
        commit, runs = versions()
        assert commit == "b" * 40 + "+changes"
        assert str(runs).count("git_commit") == 2


def test_a_study_does_not_mix_trials_of_several_data(database: Database, spec: StudySpec) -> None:
    record = StudyRecord.open(database, spec, data={"photos": "first"})
    record.start(spec.setups()[0], points(1), "p1")
    record = StudyRecord.open(database, spec, data={"photos": "second"})  # nothing was finished
    record.finish(complete(0))
    StudyRecord.open(database, spec, data={"photos": "second", "more": "new"})
    StudyRecord.open(database, spec)
    with pytest.raises(RequestError, match="finished trials of other data: photos was edited since"):
        StudyRecord.open(database, spec, data={"photos": "first"})

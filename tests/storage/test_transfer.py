"""A study moved between databases without loss."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa

from kdsearch.errors import LiveDriverError, RequestError
from kdsearch.spec import StudySpec
from kdsearch.spec.widening import widen_range
from kdsearch.storage import (
    Database,
    StudyRecord,
    export_study,
    hold_lease,
    import_study,
    list_studies,
    load_optuna_study,
    open_database,
)
from kdsearch.storage.sql.tables import Table
from kdsearch.trial import TrialResult

TEACHER = {"digest": "d" * 64, "recipe": {"seed": 0}, "path": "/artifacts/d", "entropy": {"1.0": 0.1}}


@pytest.fixture
def open_sqlite(tmp_path: Path) -> Iterator[Callable[[str], Database]]:
    """Open another, empty SQLite database."""
    opened: list[Database] = []

    def open_one(name: str) -> Database:
        opened.append(open_database(f"sqlite:///{tmp_path}/{name}.db", create=True))
        return opened[-1]

    yield open_one
    for database in opened:
        database.close()


def fill(database: Database, spec: StudySpec) -> StudyRecord:
    """Make a study with a trial in each state.

    It has a retry, a hand-made trial, notes and a teacher too.
    """
    record = StudyRecord.open(database, spec)
    record.save_teacher(TEACHER)
    point = {"objective.temperature": 1 / 3 + 1, "optimizer.lr": 0.1}
    record.start(spec.setups()[0], [point] * 5, "p1")
    for epoch in range(1, 21):
        record.report(epoch, {n: {"val_accuracy": epoch / 30 + n, "train_loss": 0.1} for n in range(3)})
    record.finish(TrialResult(0, "complete", 20, {"val_accuracy": 2 / 3, "f1": 0.25}, seconds=0.1))
    record.finish(TrialResult(1, "pruned", 20, {"val_accuracy": 0.1}, reason="hopeless"))
    record.finish(TrialResult(2, "failed", 3, reason="diverged"))
    record.lose([3], "its worker ended")
    by_hand = {"optimizer.name": "sgd", "teacher.finetune.epochs": 20, **point}
    record.optuna.enqueue_trial(by_hand, user_attrs={"why": "curious"})
    record.take_waiting(1, "p2")
    wider = widen_range(record.spec, "optimizer.lr", "sgd", is_high=True, reason="its best value lies there")
    assert wider is not None
    record.widen(wider)
    record.start_pack("p2")
    record.end_pack("p2")
    storage, study = record.optuna._storage, record.optuna._study_id
    storage.set_study_system_attr(study, "dashboard:note_ver", 1)
    last = record.optuna.get_trials()[-1]._trial_id
    storage.set_study_system_attr(study, f"dashboard:{last}:note_str:0", "a note")
    record.set_state("interrupted")
    return record


def content(database: Database) -> dict[str, Any]:
    """Return all that is stored, without a database's own ids."""
    rows: dict[str, Any] = {}
    with database.read() as connection:
        for table in Table.metadata.sorted_tables:
            found = connection.execute(sa.select(table).order_by(*table.primary_key.columns))
            rows[table.name] = [
                {k: v for k, v in row._mapping.items() if k not in ("id", "study_id")} for row in found
            ]
    study = load_optuna_study(database, "tiny")
    rows["optuna"] = [
        {k: v for k, v in trial.__dict__.items() if k != "_trial_id"} for trial in study.get_trials()
    ]
    rows["study"] = (study.study_name, study.user_attrs, study.direction)
    ids = {trial._trial_id: f"trial {trial.number}" for trial in study.get_trials()}
    rows["notes"] = {
        ":".join(ids.get(int(part), part) if part.isdigit() else part for part in key.split(":")): value
        for key, value in study._storage.get_study_system_attrs(study._study_id).items()
    }
    return rows


def test_a_round_trip_loses_nothing(
    database: Database, spec: StudySpec, open_sqlite: Callable[[str], Database], tmp_path: Path
) -> None:
    first = open_sqlite("first")
    fill(first, spec)
    export_study(first, "tiny", tmp_path / "out")
    optuna.create_study(study_name="other", storage=load_optuna_study(first, "tiny")._storage)
    assert import_study(database, tmp_path / "out") == "tiny"
    assert content(database) == content(first)
    export_study(database, "tiny", tmp_path / "back")
    third = open_sqlite("third")
    import_study(third, tmp_path / "back")
    assert content(third) == content(first)
    note = content(third)["notes"]["dashboard:trial 6:note_str:0"]
    assert note == "a note"


def test_an_imported_study_goes_on(
    database: Database, spec: StudySpec, open_sqlite: Callable[[str], Database], tmp_path: Path
) -> None:
    first = open_sqlite("first")
    fill(first, spec)
    export_study(first, "tiny", tmp_path / "out")
    import_study(database, tmp_path / "out")
    record = StudyRecord.open(database, spec)
    record.recover()
    assert record.progress().running == 0
    assert record.progress().finished == 3
    taken = record.take_waiting(4, "p9")
    record.finish(TrialResult(taken[0].number, "complete", 20, {"val_accuracy": 0.5}))
    assert record.optuna.trials[taken[0].number].state.name == "COMPLETE"


class TestRefusal:
    @pytest.fixture
    def exported(
        self, open_sqlite: Callable[[str], Database], spec: StudySpec, tmp_path: Path
    ) -> tuple[Database, Path]:
        first = open_sqlite("first")
        fill(first, spec)
        export_study(first, "tiny", tmp_path / "out")
        return first, tmp_path / "out"

    def test_a_study_that_is_there_stays(self, exported: tuple[Database, Path]) -> None:
        database, folder = exported
        before = content(database)
        with pytest.raises(RequestError, match="got 'tiny', which is there"):
            import_study(database, folder)
        assert content(database) == before

    def test_a_folder_is_not_written_twice(self, exported: tuple[Database, Path]) -> None:
        with pytest.raises(RequestError, match="must be new"):
            export_study(exported[0], "tiny", exported[1])

    def test_a_running_study_is_not_exported(self, exported: tuple[Database, Path], tmp_path: Path) -> None:
        with (
            hold_lease(exported[0], "tiny"),
            pytest.raises(LiveDriverError, match="is being run"),
        ):
            export_study(exported[0], "tiny", tmp_path / "other")

    def test_an_export_of_the_first_format_takes_its_hours_from_its_packs(
        self, exported: tuple[Database, Path], open_sqlite: Callable[[str], Database]
    ) -> None:
        folder = exported[1]
        manifest = json.loads((folder / "study.json").read_text())
        del manifest["study"]["seconds"]
        packs = [
            {"name": name, "started": f"2026-01-01T{begin}+00:00", "seconds": seconds}
            for name, begin, seconds in (("p1", "00:00:00", 3600.0), ("p2", "00:30:00", 3600.0))
        ]
        lines = [json.dumps({**pack, "cpus": 1.0, "gpus": 0.0, "running": False}) for pack in packs]
        (folder / "packs.jsonl").write_text("\n".join(lines) + "\n")
        manifest["counts"]["packs"] = 2
        (folder / "study.json").write_text(json.dumps({**manifest, "format": 1}))
        target = open_sqlite("target")
        import_study(target, folder)
        assert list_studies(target)[0].hours.wall == pytest.approx(1.5)

    @pytest.mark.parametrize("damage", ["cut", "format", "none"])
    def test_a_damaged_folder_is_named(
        self,
        exported: tuple[Database, Path],
        open_sqlite: Callable[[str], Database],
        damage: str,
    ) -> None:
        _, folder = exported
        if damage == "cut":
            lines = (folder / "epochs.jsonl").read_text().splitlines()
            (folder / "epochs.jsonl").write_text("\n".join(lines[:-2]))
        elif damage == "format":
            manifest = json.loads((folder / "study.json").read_text())
            (folder / "study.json").write_text(json.dumps({**manifest, "format": 99}))
        else:
            folder = folder / "nosuch"
        target = open_sqlite("target")
        with pytest.raises(RequestError, match="must"):
            import_study(target, folder)
        assert list_studies(target) == []

    def test_an_import_that_broke_off_is_made_again(
        self,
        exported: tuple[Database, Path],
        database: Database,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def fail(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("kdsearch.storage.export._import_rows", fail)
        with pytest.raises(KeyboardInterrupt):
            import_study(database, exported[1])
        monkeypatch.undo()
        assert list_studies(database) == []
        import_study(database, exported[1])
        assert content(database) == content(exported[0])

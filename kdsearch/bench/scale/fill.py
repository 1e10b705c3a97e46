"""A simulated study of very many trials, written in bulk.

None of them is trained.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import numpy as np
from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import Connection, Table, insert, select

from kdsearch.bench.search.simulation import SimulatedStudy, simulated_study
from kdsearch.spec import TEMPERATURE, StudySpec, setup_key
from kdsearch.storage import Database, StudyRecord, TrialRow
from kdsearch.storage.mirror.store import open_optuna_storage
from kdsearch.storage.rows.distributions import OptunaSpace
from kdsearch.storage.sql.tables import EpochTable, PackTable, StudyTable, TrialTable, table_of

PACK = 8  # by hand: it only sets how many packs there are, and their seconds
_ROWS_AT_ONCE = 5000  # by hand: bounds the memory of an insert
_SECONDS = 30.0  # of a trial: any plausible length, as nothing is trained
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def fill_study(database: Database, trials: int, epochs: int, seed: int = 0) -> StudySpec:
    """Write a finished study of 12 setups with evenly spread parameters. Return its spec.

    Optuna's tables are filled too, as the dashboard reads them.

    Args:
        database: An open database.
        trials: How many trials.
        epochs: How many epochs each has reported.
        seed: Decides the truth, the parameters and the noise.
    """
    study = simulated_study("shared", seed, n_trials=trials, pack=PACK)
    rows = _simulate(study, trials, seed)
    record = StudyRecord.open(database, study.spec)
    with database.write() as connection:
        _fill_ours(connection, study.spec, rows, epochs)
    _fill_optuna(open_optuna_storage(database), record.optuna.study_name, study.spec, rows)
    record.set_state("finished")
    return study.spec


def _simulate(study: SimulatedStudy, trials: int, seed: int) -> Sequence[TrialRow]:
    """Train packs of the setups in turn."""
    setups = study.spec.setups()
    units = np.random.default_rng(seed).random((trials, len(study.spec.tune)))
    for number, unit in enumerate(units):
        setup = setups[number // PACK % len(setups)]
        dimensions = study.spec.dimensions(setup).items()
        values = {path: dim.from_unit(float(u)) for (path, dim), u in zip(dimensions, unit, strict=True)}
        study.run(setup, values)
    return study.rows


def _fill_ours(connection: Connection, spec: StudySpec, rows: Sequence[TrialRow], epochs: int) -> None:
    study = connection.scalars(select(StudyTable.id).where(StudyTable.name == spec.name)).one()
    numbers = {setup_key(setup): number for number, setup in enumerate(spec.setups())}
    _insert(connection, table_of(TrialTable), (_trial(study, numbers, row) for row in rows))
    curves = ((row, epoch) for row in rows for epoch in range(1, epochs + 1))
    _insert(connection, table_of(EpochTable), (_epoch(study, row, at, epochs) for row, at in curves))
    _insert(connection, table_of(PackTable), (_pack(study, at) for at in range(-(-len(rows) // PACK))))


def _trial(study: int, numbers: dict[str, int], row: TrialRow) -> dict[str, Any]:
    started = _BEGIN + timedelta(seconds=_SECONDS * row.number)
    return {
        **row.to_dict(),
        "study_id": study,
        "setup": numbers[setup_key(row.setup)],
        "temperature": row.params[TEMPERATURE],
        "attempt": 1,
        "seconds": _SECONDS,
        "device": "cpu",
        "pack": _pack_name(row.number // PACK),
        "started": started,
        "finished": started + timedelta(seconds=_SECONDS),
    }


def _epoch(study: int, row: TrialRow, epoch: int, epochs: int) -> dict[str, Any]:
    accuracy = None if row.val_accuracy is None else row.val_accuracy * epoch / epochs
    return {"study_id": study, "number": row.number, "epoch": epoch, "val_accuracy": accuracy}


def _pack(study: int, at: int) -> dict[str, Any]:
    held = {"cpus": 1.0, "gpus": 0.0, "started": _BEGIN, "seconds": PACK * _SECONDS, "running": False}
    return {"study_id": study, "name": _pack_name(at), **held}


def _pack_name(at: int) -> str:
    return f"p{at + 1:05d}"


def _fill_optuna(storage: RDBStorage, name: str, spec: StudySpec, rows: Sequence[TrialRow]) -> None:
    """Write what Optuna's storage would have written, trial by trial, in bulk."""
    study = storage.get_study_id_from_name(name)
    space = OptunaSpace(spec)
    described = {
        setup_key(setup): {
            path: (found, distribution_to_json(found)) for path, found in space.distributions(setup).items()
        }
        for setup in spec.setups()
    }
    with storage.engine.begin() as connection:
        _insert(connection, models.TrialModel.__table__, (_optuna_trial(study, row) for row in rows))
        query = select(models.TrialModel.number, models.TrialModel.trial_id)
        ids = dict(connection.execute(query.where(models.TrialModel.study_id == study)).all())
        params = (
            {
                "trial_id": ids[row.number],
                "param_name": path,
                "param_value": described[setup_key(row.setup)][path][0].to_internal_repr(value),
                "distribution_json": described[setup_key(row.setup)][path][1],
            }
            for row in rows
            for path, value in space.encode(row.setup, row.params).items()
        )
        _insert(connection, models.TrialParamModel.__table__, params)
        _insert(connection, models.TrialValueModel.__table__, (_value(ids, row) for row in rows))
        points = ({"step": row.epochs, **_point(ids, row)} for row in rows)
        _insert(connection, models.TrialIntermediateValueModel.__table__, points)
        _insert(connection, models.TrialUserAttributeModel.__table__, (_attribute(ids, row) for row in rows))


def _optuna_trial(study: int, row: TrialRow) -> dict[str, Any]:
    started = _BEGIN.replace(tzinfo=None) + timedelta(seconds=_SECONDS * row.number)
    ended = started + timedelta(seconds=_SECONDS)
    moments = {"datetime_start": started, "datetime_complete": ended}
    return {"study_id": study, "number": row.number, "state": TrialState.COMPLETE, **moments}


def _value(ids: dict[int, int], row: TrialRow) -> dict[str, Any]:
    kind = models.TrialValueModel.TrialValueType.FINITE
    return {"trial_id": ids[row.number], "objective": 0, "value": row.val_accuracy, "value_type": kind}


def _point(ids: dict[int, int], row: TrialRow) -> dict[str, Any]:
    kind = models.TrialIntermediateValueModel.TrialIntermediateValueType.FINITE
    told = {"intermediate_value": row.val_accuracy, "intermediate_value_type": kind}
    return {"trial_id": ids[row.number], **told}


def _attribute(ids: dict[int, int], row: TrialRow) -> dict[str, Any]:
    told = {"seed": row.seed, "pack": _pack_name(row.number // PACK), "attempt": 1, "retry_of": None}
    return {"trial_id": ids[row.number], "key": "kdsearch", "value_json": json.dumps(told)}


def _insert(connection: Connection, table: Table, rows: Iterable[dict[str, Any]]) -> None:
    for part in _parts(rows):
        connection.execute(insert(table), part)


def _parts(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    left = iter(rows)
    while part := list(islice(left, _ROWS_AT_ONCE)):
        yield part

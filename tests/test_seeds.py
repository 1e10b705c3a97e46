"""The luck of a study, value for value: a study that is trained again later gets the same numbers."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from optuna.samplers import BaseSampler, RandomSampler

from kdsearch.distill.data.splits import split_indices
from kdsearch.distill.execution.dropout import KeyedDropout, key_dropout
from kdsearch.distill.randomness import hash_key, hashed_order, stream
from kdsearch.distill.views.draws import Stream
from kdsearch.search.designs import DesignProposer
from kdsearch.search.optuna_proposers import OptunaProposer
from kdsearch.search.pruning import audited_of
from kdsearch.search.start import start_points
from kdsearch.spec import StudySpec, load_spec
from kdsearch.spec.sections import Dataset
from kdsearch.storage import StudyRecord, open_database


@pytest.fixture(scope="module")
def spec() -> StudySpec:
    return load_spec(
        {
            "name": "lucky",
            "dataset": {"name": "digits", "split_seed": 5},
            "training": {"view_seed": 11, "order_seed": 13, "vary": ["split", "views", "order"], "splits": 2},
            "setup": {"optimizer.name": ["sgd", "adamw"]},
            "tune": {"objective.temperature": {"low": 1, "high": 40, "log": True}},
            "search": {"trials": 8, "seed": 3},
        }
    )


def test_a_trials_seed_follows_from_the_searchs_and_its_number(spec: StudySpec, tmp_path: Path) -> None:
    with open_database(f"sqlite:///{tmp_path / 'lucky.db'}", create=True) as database:
        record = StudyRecord.open(database, spec)
        points = [{"objective.temperature": 2.0}, {"objective.temperature": 3.0}]
        trials = record.start(spec.setups()[0], points, "p1")
    assert [trial.seed for trial in trials] == [3_000_000, 3_000_001]


def test_the_seeds_of_a_draw(spec: StudySpec) -> None:
    expected = {"training.view_seed": 3_000_016, "training.order_seed": 3_000_018, "dataset.split_seed": 6}
    assert spec.drawn(5) == expected


def test_what_the_search_draws_from(spec: StudySpec) -> None:
    given: list[int] = []

    def design(seed: int, index: int, n_parameters: int) -> Sequence[float]:
        given.append(seed)
        return [0.5] * n_parameters

    def sampler(seed: int) -> BaseSampler:
        given.append(seed)
        return RandomSampler(seed=seed)

    DesignProposer(spec, design).propose([], 1)
    OptunaProposer(spec, sampler).propose([], 1)
    first = start_points(spec, spec.setups()[0], 0, 4, 3)
    expected = [18.593295135471063, 1.1089607698659605, 4.839930817003277, 8.326403640096583]
    temperatures = [point["objective.temperature"] for point in first]
    assert (given, audited_of(range(32), 3)) == ([3395299689, 3176533466], [6, 15, 22, 26])
    assert temperatures == pytest.approx(expected, rel=1e-12)


def test_what_the_engine_draws_from() -> None:
    expected = {"student": 70934627351664323, "teacher": 44655603435449264, "agreement": 23546715415347739}
    assert {name: stream(7, name).initial_seed() for name in expected} == expected
    assert hash_key(11, 2, Stream.ORDER) == 3453514940
    assert hashed_order(hash_key(13, 2, Stream.ORDER), 8).tolist() == [6, 3, 2, 5, 1, 0, 7, 4]
    model = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Dropout())
    key_dropout(model, 7)
    assert [int(own.key) for own in model if isinstance(own, KeyedDropout)] == [3914334914, 653591994]
    labels = torch.arange(40) % 4
    sizes = Dataset(name="digits", train_size=8, validation_size=4, split_seed=5)
    train, validation, _ = split_indices(labels, None, sizes)
    assert (train.tolist(), validation.tolist()) == ([0, 1, 2, 3, 11, 32, 37, 38], [14, 17, 28, 39])

import math
from collections.abc import Callable, Iterator

import pytest
from starlette.testclient import TestClient

from kdsearch.service import build_app
from kdsearch.service.answering.answers import Answers
from kdsearch.spec import TEMPERATURE, load_spec, setup_key
from kdsearch.storage import StudyRecord, open_database
from kdsearch.trial import TrialResult

PER_SETUP = 8  # trials, by hand: enough for an answer, few enough to write in no time
CLAIM = {
    "says": "sgd wants a higher temperature than adamw",
    "quantity": "best_temperature",
    "factor": "optimizer.name",
    "levels": ["adamw", "sgd"],
    "direction": "higher",
    "at_least": 1.5,
}


def store_study(url: str, name: str = "demo", per_setup: int = PER_SETUP) -> None:
    """Write a study of two setups.

    Accuracy peaks at T = 6; the first trial of each setup diverged.
    """
    spec = load_spec(
        {
            "name": name,
            "setup": {"optimizer.name": ["sgd", "adamw"]},
            "tune": {TEMPERATURE: {"low": 1, "high": 40, "log": True}},
            "search": {"trials": 2 * PER_SETUP},
            "claims": [CLAIM],
        }
    )
    with open_database(url, create=True) as database:
        record = StudyRecord.open(database, spec)
        for pack, setup in enumerate(spec.setups()):
            params = [{TEMPERATURE: 40 ** ((i + 0.5) / per_setup)} for i in range(per_setup)]
            for index, trial in enumerate(record.start(setup, params, f"pack-{pack}")):
                if index == 0:
                    record.finish(TrialResult(trial.number, "failed", 3, {}, "diverged"))
                    continue
                accuracy = 0.9 - 0.01 * math.log(trial.params[TEMPERATURE] / 6) ** 2
                for epoch in (5, 10, 15, 20):
                    record.report(epoch, {trial.number: {"val_accuracy": accuracy * epoch / 20}})
                metrics = {"val_accuracy": accuracy, "test_accuracy": accuracy - 0.01}
                record.finish(TrialResult(trial.number, "complete", 20, metrics))
        record.stop_setups({setup_key(spec.setups()[1]): "expected to lose little"})
        record.set_state("finished", "all trials are done")


@pytest.fixture(scope="session")
def storage_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('service')}/studies.db"
    store_study(url)
    return url


@pytest.fixture(scope="session")
def answers() -> Iterator[Answers]:
    """The processes that compute answers: they take long to start, so the tests share them."""
    shared = Answers()
    yield shared
    shared.close()


@pytest.fixture
def connect(answers: Answers) -> Callable[..., TestClient]:
    def open_client(url: str, **options) -> TestClient:
        app = build_app(url, **{"answers": answers, **options})
        return TestClient(app, base_url="http://127.0.0.1:8080", follow_redirects=False)

    return open_client


@pytest.fixture(scope="session")
def client(storage_url: str, answers: Answers) -> TestClient:
    app = build_app(storage_url, answers=answers)
    return TestClient(app, base_url="http://127.0.0.1:8080", follow_redirects=False)


@pytest.fixture
def store() -> Callable[..., None]:
    return store_study

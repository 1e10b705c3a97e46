"""A driver that is killed again and again.

It is run by test_kills.py as a process of its own. Arguments: URL, FOLDER, SEEDS, MODE, TRIALS, EPOCHS. Each
seed, by commas, has a study. Each round forks a driver that goes on with it and is killed with SIGKILL:
before a random commit of either half (`commit`), or at a random moment (`moment`); after `ROUNDS` deaths one
may live. The study's log in the folder has a line for each result that the record took, written after it took
it. Prints how many drivers died.
"""

import gc
import os
import random
import signal
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import sqlalchemy as sa

from kdsearch.spec import StudySpec, load_spec
from kdsearch.storage import StudyRecord, hold_lease, open_database
from kdsearch.storage.mirror.store import open_optuna_storage
from kdsearch.trial import Trial, TrialResult

ROUNDS = 8  # deaths of a study, by hand: more cost time and none is of another kind
TRIALS, EPOCHS = int(sys.argv[5]), int(sys.argv[6])
SPEC = {
    "training": {"epochs": EPOCHS},
    "setup": {"optimizer.name": ["sgd", "adamw"]},
    "tune": {"objective.temperature": {"low": 1, "high": 1000}},
    "search": {"trials": TRIALS, "pack": 3},
}


def drive(url: str, name: str, log: Path, tell: int) -> None:
    """Drive the study to its end.

    Once the database is open, that is told.
    """
    spec = load_spec({"name": name, **SPEC})
    with open_database(url) as database, hold_lease(database, spec.name) as lease:
        os.write(tell, b"!")
        record = StudyRecord.open(database, spec, lease=lease)
        record.recover()
        while room := TRIALS - record.finished_count():
            train(record, ask(record, spec, min(3, room)), log)
        record.set_state("finished")


def ask(record: StudyRecord, spec: StudySpec, size: int) -> list[Trial]:
    name = f"p{record.last_pack() + 1:03d}"
    waiting = record.take_waiting(size, name)
    if waiting:
        return waiting
    made = len(record.trials())
    setup = spec.setups()[made // 3 % 2]
    return record.start(setup, [{"objective.temperature": 1.0 + made + n} for n in range(size)], name)


def train(record: StudyRecord, trials: list[Trial], log: Path) -> None:
    """Report and finish trials.

    Every trial's accuracy follows from its temperature; every seventh diverges.
    """
    for epoch in range(1, EPOCHS + 1):
        record.report(epoch, {t.number: {"val_accuracy": accuracy_of(t) * epoch / EPOCHS} for t in trials})
    for trial in trials:
        if trial.params["objective.temperature"] % 7 == 0:
            result = TrialResult(trial.number, "failed", EPOCHS, reason="diverged")
        else:
            result = TrialResult(trial.number, "complete", EPOCHS, {"val_accuracy": accuracy_of(trial)})
        record.finish(result)
        with log.open("a") as file:
            file.write(f"{trial.number}\n")


def accuracy_of(trial: Trial) -> float:
    return float(trial.params["objective.temperature"]) / 1000


def die_before_commit(number: int) -> None:
    """Let this process be killed before its `number`-th commit.

    Optuna's commits count too.
    """
    count = 0

    def die(connection: sa.Connection) -> None:
        nonlocal count
        count += 1
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sa.event.listen(sa.Engine, "commit", die)


def load_what_drivers_need(url: str) -> None:
    """Run a study elsewhere to its end: drivers that are forked later share modules and compiled statements."""
    with open_database(url):  # its database's driver
        pass
    with TemporaryDirectory() as folder:
        elsewhere = f"sqlite:///{folder}/study.db"
        with open_database(elsewhere, create=True) as database:
            open_optuna_storage(database)
        ready, tell = os.pipe()
        drive(elsewhere, "elsewhere", Path(folder) / "log", tell)
        os.close(ready)
        os.close(tell)
    gc.collect()
    gc.freeze()  # else the collector of each driver would look through all that is loaded


def kill_drivers(url: str, name: str, log: Path, seed: int, mode: str) -> int:
    """Kill a study's drivers until one lives; return how many died."""
    luck = random.Random(seed)
    for deaths in range(ROUNDS + 1):
        commit, moment = luck.randint(1, 50), luck.uniform(0.0, 0.3)
        ready, tell = os.pipe()
        child = os.fork()
        if child == 0:
            if mode == "commit" and deaths < ROUNDS:
                die_before_commit(commit)
            drive(url, name, log, tell)
            os._exit(0)
        os.close(tell)
        os.read(ready, 1)
        os.close(ready)
        if mode == "moment" and deaths < ROUNDS:
            time.sleep(moment)
            os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == 0:
            return deaths
        if code != -signal.SIGKILL:
            sys.exit(f"the driver of round {deaths} failed")
    raise AssertionError


def main() -> None:
    url, folder, seeds, mode = sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4]
    load_what_drivers_need(url)
    for seed in map(int, seeds.split(",")):
        name = f"killed-{seed}"
        print(kill_drivers(url, name, folder / name, seed, mode))


if __name__ == "__main__":
    main()

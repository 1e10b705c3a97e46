"""Faults of the driver and of what surrounds it: signals, a second launch, its log, its database, its Ray."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing, suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # has no stubs of its own

from kdsearch.bench.faults.shared_services import SharedServices, stop_server
from kdsearch.bench.faults.study import Driver, FaultStudy, MissedError

_START_S = 8.0
"""About how long a launch takes until its first trial: moments of the start are drawn from it."""
_SLOWEST_S = 20.0  # by hand: a very busy machine may hold Ray's start up as long
_DAEMONS = ("raylet", "gcs_server")


def kill_driver(study: FaultStudy, luck: random.Random, _: SharedServices) -> None:
    """Kill the driver while it starts or while it trains. Its Ray has to end by itself."""
    if study.driver is not None or luck.random() < 0.5:
        driver = study.running()
        study.until_at_gate(driver)
    else:
        driver = study.start()
        time.sleep(luck.uniform(0.0, _START_S))
    if driver.poll() is not None:
        raise MissedError("the study ended before the signal")
    driver.kill()
    driver.wait()
    study.driver = None
    study.read()


def end_driver(study: FaultStudy, luck: random.Random, _: SharedServices) -> None:
    """Send SIGTERM to the driver or its group.

    It comes while Ray starts or while it trains.
    """
    trains = study.driver is not None or luck.random() < 0.5
    driver = study.running()
    if trains:
        study.until_at_gate(driver)
    else:
        study.until(driver, lambda: "starting Ray" in study.log_of_launch())
        time.sleep(luck.uniform(0.0, _START_S))
    if driver.poll() is not None:
        raise MissedError("the study ended before the signal")
    if luck.random() < 0.5:
        driver.send_signal(signal.SIGTERM)
    else:
        os.killpg(driver.pid, signal.SIGTERM)
    study.expect("SIGTERM", study.wait(driver), 130)
    study.driver = None
    study.expect_words("Interrupted. The same command goes on where it stopped.")
    found = study.read()
    if found is not None and (found.state != "interrupted" or found.count("running") or found.drivers):
        study.wrong.append(f"after SIGTERM: {found.state}, {found.count('running')} running")
    if trains and (found is None or not found.count("waiting")):
        study.wrong.append("after SIGTERM no trial waits")


def stop_driver(study: FaultStudy, luck: random.Random, _: SharedServices) -> None:
    """Suspend the driver, let a second one take over, wake the first.

    The first stops as it would where its machine is suspended.
    """
    first = study.running()
    study.until_at_gate(first)
    _suspend(study, first)
    try:
        study.open_gate()
        takeover = luck.random() < 0.75
        code = study.wait(study.start("--takeover") if takeover else study.start())
        while not takeover and code == 3:  # until its lease has expired
            code = study.wait(study.start())
        before = study.read()
    finally:
        first.send_signal(signal.SIGCONT)
    study.expect("the driver that was stopped", study.wait(first), 3)
    study.expect_words("was taken over by another driver; this one stops.")
    if study.read() != before:
        study.wrong.append("the driver that was stopped wrote to the study")


def _suspend(study: FaultStudy, driver: Driver) -> None:
    """Stop a driver while it does not hold the database's lock."""
    while driver.poll() is None:
        driver.send_signal(signal.SIGSTOP)
        with closing(sqlite3.connect(study.file, timeout=0, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
            except sqlite3.OperationalError:
                driver.send_signal(signal.SIGCONT)
                time.sleep(0.1)
            else:
                return
    raise MissedError("the study ended before it could be stopped")


def close_log(study: FaultStudy, luck: random.Random, _: SharedServices) -> None:
    """Read one line of what a launch says, or until it trains, and go away."""
    if study.driver is not None:
        raise MissedError("the driver had its log already")
    reads = ["head", "-n1"] if luck.random() < 0.5 else ["cat"]
    with (study.folder / "log").open("ab") as log:
        reader = subprocess.Popen(reads, stdin=subprocess.PIPE, stdout=log)  # noqa: S603 - ours
    with reader:
        driver = study.start(out=reader.stdin if luck.random() < 0.5 else None, errors=reader.stdin)
        if reads == ["cat"]:
            study.until_at_gate(driver)
            reader.kill()
    if driver.poll() is not None:
        raise MissedError("the study ended before its reader went away")


def take_database(study: FaultStudy, luck: random.Random, _: SharedServices) -> None:
    """Delete or replace the database under its driver.

    It is replaced by an earlier copy or by an empty file.
    """
    driver = study.running()
    study.until_at_gate(driver)
    copy = study.folder / "copy.db"
    how = luck.choice(("deleted", "restored", "emptied"))
    if how == "restored":
        with closing(sqlite3.connect(study.file)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
    elif how == "emptied":
        copy.touch()
    for end in ("-wal", "-shm"):
        Path(f"{study.file}{end}").unlink(missing_ok=True)
    study.finished.clear()
    if how == "deleted":
        study.file.unlink()
    else:
        os.replace(copy, study.file)
    study.expect("the database was taken", study.wait(driver), 1)  # the gate is closed: no trial ends first
    study.driver = None
    words = "deleted" if how == "deleted" else "replaced by another file"
    study.expect_words(f"was {words} while it was in use")


def restart_server(study: FaultStudy, luck: random.Random, services: SharedServices) -> None:
    """Stop PostgreSQL under a running study, and start it later.

    It stops cleanly or as in a crash.
    """
    study.until_at_gate(study.running())
    if luck.random() < 0.5:
        study.open_gate()
    stop_server(services.server, luck.choice((signal.SIGINT, signal.SIGQUIT)))
    time.sleep(luck.uniform(0.0, 4.0))
    services.server.ensure_postgres_running()


def hinder_ray(study: FaultStudy, luck: random.Random, _: SharedServices) -> None:
    """Kill or suspend a process of Ray while Ray starts.

    A suspended one resumes after some seconds.
    """
    driver = study.running()
    name = luck.choice(_DAEMONS)
    found: list[psutil.Process] = []

    def starts() -> bool:
        found.extend(p for p in study.processes() if _name(p) == name)
        return bool(found)

    if not study.until(driver, starts) or "searching" in study.log_of_launch():
        raise MissedError("Ray had started")
    if luck.random() < 0.5:
        found[0].kill()
        study.until_at_gate(driver)
        study.expect_words("It is started once more.")
    else:
        found[0].suspend()
        time.sleep(luck.uniform(2.0, _SLOWEST_S))
        with suppress(psutil.NoSuchProcess):  # Ray gave it up, and starts once more
            found[0].resume()


def fill_disk(study: FaultStudy, luck: random.Random, _: SharedServices) -> None:
    """Keep the artifacts on a small disk: too small for the teacher at times, then for the soft targets."""
    room = luck.choice((8, 64, 128))
    code = study.wait(study.start(shell=_on_small_disk(study, room)))
    if "o space left" not in study.log() and "Free space there" not in study.log():
        raise MissedError("there was room enough")
    if code == 1 and "Free space there" in study.log():
        study.start(shell=_on_small_disk(study, 512))


def _on_small_disk(study: FaultStudy, size_kib: int) -> list[str]:
    mount = f'mount -t tmpfs -o size={size_kib}k tmpfs "$0" && exec "$@"'
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, str(study.artifacts)]


def small_disk_problem() -> str | None:
    """Return why this machine has no file system of one's own. None where it has."""
    if shutil.which("unshare") is None:
        return "a file system of one's own needs Linux and unshare"
    command = ["unshare", "--user", "--map-root-user", "--mount", "true"]
    done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - ours
    return "mount namespaces are not allowed" if done.returncode else None


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return ""

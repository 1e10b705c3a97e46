"""Whatever is damaged, forbidden or full: every command says so in a line, and none shows a traceback."""

import json
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import click
import pytest
import sqlalchemy as sa

from kdsearch.cli.main import cli, run
from kdsearch.storage import list_studies, open_database
from kdsearch.storage.mirror.store import open_optuna_storage

NOBODY = 65534  # the user `nobody` of Linux, who owns nothing
OWN_TRAINER = ["launch", "studies/own_trainer.yaml", "--set", "name=made"]


def reading_commands(folder: Path) -> list[list[str]]:
    return [
        ["studies"],
        ["best", "made"],
        ["compare", "made", "--factor", "optimizer.name"],
        ["forecast", "made"],
        ["importance", "made"],
        ["recommend", "--set", "optimizer.name=sgd"],
        ["trials", "made"],
        ["trials", "made", "--format", "csv"],
        ["teachers"],
        ["report", "made", "--out", str(folder / "r.html")],
        ["export", "made", str(folder / "exported")],
        ["stop", "made"],
        ["db", "status"],
        ["db", "upgrade"],
    ]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, storage: str) -> Path:
    """A file of a finished study, to copy."""
    path = tmp_path_factory.mktemp("small") / "small.db"
    shutil.copy(storage.removeprefix("sqlite:///"), path)
    return path


@pytest.fixture
def file(small: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(small, tmp_path / "damaged.db"))


def sqlite(file: Path, *statements: str) -> None:
    with closing(sqlite3.connect(file)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def damage_page(file: Path, table: str) -> None:
    with closing(sqlite3.connect(file)) as connection:
        size = connection.execute("PRAGMA page_size").fetchone()[0]
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    with file.open("r+b") as content:
        content.seek((page - 1) * size)
        content.write(b"\xa5" * size)


def check_words(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> int:
    """Run a command, and check that its error has words.

    One without words comes out of `run`, as a traceback would.
    """
    code = run(arguments)
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert code == 0 or told.startswith("kdsearch: ")
    assert told.count("\n") <= 2
    return code


@pytest.mark.parametrize(
    "table", ["kd_study", "kd_setup", "kd_trial", "kd_epoch", "kd_lease", "kd_alembic_version"]
)
def test_a_damaged_page_has_words(
    capsys: pytest.CaptureFixture[str], file: Path, tmp_path: Path, table: str
) -> None:
    damage_page(file, table)
    commands = [*reading_commands(tmp_path), OWN_TRAINER]
    codes = [check_words(capsys, [*command, "--storage", f"sqlite:///{file}"]) for command in commands]
    assert set(codes) <= {0, 1, 2}
    assert 1 in codes  # it failed while running: nothing was wrong with the request


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("UPDATE kd_trial SET state = 'odd' WHERE number = 3", "a trial has the state 'odd'"),
        ("UPDATE kd_trial SET params = 'no JSON' WHERE number = 3", "holds what can't be read"),
        (
            "UPDATE kd_trial SET val_accuracy = 1e308 WHERE number = 3",
            "val_accuracy 1e+308, which is no fraction",
        ),
        ("UPDATE kd_trial SET val_accuracy = 'high' WHERE number = 3", "holds what can't be read"),
        (
            "UPDATE kd_trial SET params = '{\"objective.temperature\": -5}' WHERE number = 3",
            "the temperature -5",
        ),
        ("UPDATE kd_trial SET setup = 99 WHERE number = 3", "holds what can't be read"),
        ("UPDATE kd_setup SET levels = 'no JSON'", "holds what can't be read"),
        ("UPDATE kd_study SET spec = 'no JSON'", "holds what can't be read"),
        ("UPDATE kd_study SET spec = '[]'", "the stored spec of 'made'"),
        ("UPDATE kd_study SET spec = json_remove(spec, '$.tune')", "the stored spec of 'made'"),
    ],
)
def test_an_odd_row_has_words(
    capsys: pytest.CaptureFixture[str], file: Path, tmp_path: Path, change: str, told: str
) -> None:
    sqlite(file, "PRAGMA foreign_keys = OFF", change)
    url = f"sqlite:///{file}"
    for command in reading_commands(tmp_path):
        check_words(capsys, [*command, "--storage", url])
    assert run(["best", "made", "--storage", url]) in (1, 2)
    assert told in capsys.readouterr().err


def test_a_bad_study_hides_no_other(capsys: pytest.CaptureFixture[str], file: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{file}"
    assert run(["export", "made", str(tmp_path / "out"), "--storage", url]) == 0
    sqlite(
        file,
        "UPDATE kd_study SET name = 'bad', uid = 'other', created = 'yesterday'",
        "UPDATE studies SET study_name = 'bad'",
        "UPDATE study_user_attributes SET value_json = '\"other\"'",
    )
    assert run(["import", str(tmp_path / "out"), "--storage", url]) == 0
    capsys.readouterr()
    assert run(["studies", "--storage", url, "--format", "json"]) == 0
    states = {study["study"]: study["state"] for study in json.loads(capsys.readouterr().out)}
    assert states == {"bad": "unreadable", "made": "finished"}


def edited(path: Path, change: Callable[[Any], Any]) -> None:
    """Change the first line of a file of JSON.

    It is a file of JSON lines, or one of a single document, which is changed whole.
    """
    first, *rest = path.read_text().split("\n") if path.suffix == ".jsonl" else [path.read_text()]
    changed = change(json.loads(first))
    path.write_text("\n".join([changed if isinstance(changed, str) else json.dumps(changed), *rest]))


def without(key: str) -> Callable[[Any], Any]:
    return lambda document: {name: value for name, value in document.items() if name != key}


EXPORT_DAMAGES: dict[str, Callable[[Path], Any]] = {
    "truncated line": lambda f: edited(f / "trials.jsonl", lambda d: json.dumps(d)[:50]),
    "a list for a row": lambda f: edited(f / "trials.jsonl", lambda d: list(d.values())),
    "a missing column": lambda f: edited(f / "trials.jsonl", without("state")),
    "an unknown column": lambda f: edited(f / "trials.jsonl", lambda d: {**d, "colour": "red"}),
    "no study": lambda f: edited(f / "study.json", without("study")),
    "no counts": lambda f: edited(f / "study.json", without("counts")),
    "counts that are none": lambda f: edited(f / "study.json", lambda d: {**d, "counts": {"optuna": "many"}}),
    "a list as manifest": lambda f: (f / "study.json").write_text("[]"),
    "binary": lambda f: (f / "epochs.jsonl").write_bytes(b"\xff\xfe\x00\x80"),
    "a part that is missing": lambda f: (f / "epochs.jsonl").unlink(),
    "a symlink elsewhere": lambda f: (
        (f / "packs.jsonl").unlink(),
        (f / "packs.jsonl").symlink_to("/etc/passwd"),
    ),
    "an Optuna row without number": lambda f: edited(f / "optuna.jsonl", without("number")),
    "an Optuna row of another kind": lambda f: edited(
        f / "optuna.jsonl", lambda d: {**d, "params": {"x": 1}}
    ),
    "a number twice": lambda f: edited(f / "trials.jsonl", lambda d: {**d, "number": 1}),
    "a number that no column holds": lambda f: edited(f / "trials.jsonl", lambda d: {**d, "epochs": 10**19}),
    "an accuracy in percent": lambda f: edited(f / "trials.jsonl", lambda d: {**d, "val_accuracy": 90.0}),
    "a setup that is not there": lambda f: edited(f / "trials.jsonl", lambda d: {**d, "setup": 9}),
    "a moment without zone": lambda f: edited(
        f / "trials.jsonl", lambda d: {**d, "started": "2026-01-01T00:00"}
    ),
    "a spec that does not check": lambda f: edited(
        f / "study.json", lambda d: {**d, "study": {**d["study"], "spec": {"name": "made", "tune": 4}}}
    ),
    "markup for a name": lambda f: edited(
        f / "study.json", lambda d: {**d, "study": {**d["study"], "name": '"><script>'}}
    ),
    "a newer format": lambda f: edited(f / "study.json", lambda d: {**d, "format": 99}),
}


def test_a_damaged_or_foreign_export_is_refused_whole(
    capsys: pytest.CaptureFixture[str], storage: str, tmp_path: Path
) -> None:
    whole, url = tmp_path / "whole", f"sqlite:///{tmp_path / 'other.db'}"
    assert run(["export", "made", str(whole), "--storage", storage]) == 0
    for name, damage in EXPORT_DAMAGES.items():
        folder = tmp_path / name
        shutil.copytree(whole, folder)
        damage(folder)
        assert check_words(capsys, ["import", str(folder), "--storage", url]) == 2, name
    with open_database(url) as database:
        assert list_studies(database) == []
        assert open_optuna_storage(database).get_all_studies() == []
    assert run(["import", str(whole), "--storage", url]) == 0


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file grow beyond a size, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_has_words_and_leaves_nothing_half(
    capsys: pytest.CaptureFixture[str], storage: str, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    assert run(["export", "made", str(whole), "--storage", storage]) == 0
    fresh = f"sqlite:///{tmp_path / 'fresh.db'}"
    with open_database(storage), largest_file(4096):  # SQLite's shared memory is there already
        assert check_words(capsys, ["export", "made", str(tmp_path / "half"), "--storage", storage]) == 1
        assert (
            check_words(capsys, ["report", "made", "--out", str(tmp_path / "r.html"), "--storage", storage])
            == 2
        )
        assert check_words(capsys, ["import", str(whole), "--storage", fresh]) in (1, 2)
    assert not (tmp_path / "half" / "study.json").exists()
    assert list(tmp_path.glob("*.html*")) + list(tmp_path.glob(".*")) == []
    assert run(["import", str(whole), "--storage", fresh]) == 0


def writing_options(group: click.Group) -> set[tuple[str, str]]:
    """Return which commands take a file to write, and by which option: a study file is an argument."""
    found = set()
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found |= writing_options(command)
        files = (p for p in command.params if isinstance(p, click.Option) and isinstance(p.type, click.Path))
        found |= {(name, option.opts[0]) for option in files}
    return found


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["report", "made", "--storage", "{storage}", "--out"], "link.html"),
        (["data", "studies/quickstart.yaml", "--sheet"], "link.png"),
    ],
)
def test_devices_and_links_are_written_to_and_never_replaced(
    capsys: pytest.CaptureFixture[str], storage: str, tmp_path: Path, command: list[str], name: str
) -> None:
    assert (command[0], command[-1]) in writing_options(cli)
    command = [part.format(storage=storage) for part in command]
    link, real, pipe = tmp_path / name, tmp_path / "real", tmp_path / f"pipe{name}"
    link.symlink_to(real)
    assert run([*command, str(link)]) == 0
    assert link.is_symlink()
    os.mkfifo(pipe)
    taken: list[bytes] = []
    reader = threading.Thread(target=lambda: taken.append(pipe.read_bytes()))
    reader.start()
    assert run([*command, str(pipe)]) == 0
    reader.join()
    assert pipe.is_fifo()
    start = b"\x89PNG" if name.endswith("png") else b"<!DOCTYPE html>"
    assert real.read_bytes()[:100].lower().startswith(start.lower())
    assert taken[0][:100].lower().startswith(start.lower())
    for device, code in (("/dev/null", 0), ("/dev/full", 2)):
        link.unlink()
        link.symlink_to(device)
        capsys.readouterr()
        assert check_words(capsys, [*command, str(link)]) == code
        assert link.is_symlink()
        assert Path(device).is_char_device()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, pipe.name, "real"])


def test_an_export_follows_no_link_and_replaces_no_device(
    capsys: pytest.CaptureFixture[str], storage: str, tmp_path: Path
) -> None:
    command, folder, real = ["export", "made", "--storage", storage], tmp_path / "link", tmp_path / "real"
    real.mkdir()
    folder.symlink_to(real)
    assert check_words(capsys, [*command, "/dev/null"]) == 2
    assert Path("/dev/null").is_char_device()
    for name in ("trials.jsonl", "study.json", "epochs.jsonl.partial"):
        (real / name).symlink_to(tmp_path / "elsewhere")
        assert check_words(capsys, [*command, str(folder)]) == 2
        (real / name).unlink()
    assert not (tmp_path / "elsewhere").exists()
    assert check_words(capsys, [*command, str(folder)]) == 0
    assert folder.is_symlink()
    assert (real / "study.json").is_file()


def test_rows_that_a_full_disk_does_not_take_have_words(storage: str) -> None:
    command = [sys.executable, "-m", "kdsearch", "trials", "made", "--format", "json", "--storage", storage]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "No space left on device" in done.stderr


def as_another_user(arguments: list[list[str]], told: Path) -> list[tuple[int, str]]:
    """Return exit code and words of commands run by another user.

    This user is not root; `told` is a new file.
    """
    if os.geteuid():
        return [(run(command), "") for command in arguments]
    words_of = os.open(told, os.O_WRONLY | os.O_CREAT)
    if (child := os.fork()) == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        os.dup2(words_of, 2)
        sys.stderr = os.fdopen(2, "w")
        try:
            codes = []
            for command in arguments:
                codes.append(run(command))
                sys.stderr.write("\0")
            sys.stderr.write(json.dumps(codes))
            sys.stderr.flush()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(words_of)
    *words, codes = told.read_text().split("\0")
    return list(zip(json.loads(codes), words, strict=True))


@pytest.fixture
def shared() -> Iterator[Path]:
    """Give a folder that every user may enter.

    Pytest's own is closed to others.
    """
    folder = Path(tempfile.mkdtemp(prefix="kdsearch-shared-"))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize("log", ["none", "left behind"])
def test_a_file_that_can_not_be_written_is_read(
    capsys: pytest.CaptureFixture[str], small: Path, shared: Path, tmp_path: Path, log: str
) -> None:
    file = Path(shutil.copy(small, shared / "read only.db"))
    url = f"sqlite:///{file}"
    if log == "left behind":  # by a driver that was killed: the newest rows are in the log alone
        with closing(sqlite3.connect(small)) as connection:
            connection.execute("UPDATE kd_study SET reason = 'in the log'")
            connection.commit()
            for name in (file.name, f"{file.name}-wal"):
                shutil.copy(str(small) + name.removeprefix(file.name), shared / name)
            connection.execute("UPDATE kd_study SET reason = 'all 32 trials are done'")
            connection.commit()
    read = [
        ["studies"],
        ["best", "made"],
        ["trials", "made", "--format", "json"],
        ["teachers"],
        ["db", "status"],
    ]
    write = [["import", str(shared / "out")], ["db", "upgrade"], OWN_TRAINER, ["rename", "made", "other"]]
    assert run(["export", "made", str(shared / "out"), "--storage", f"sqlite:///{small}"]) == 0
    for command in [*read, *write]:  # imports what another user could not
        run([*command, "--storage", f"sqlite:///{tmp_path / 'none.db'}"])
        run([*command, "--storage", f"sqlite:///{shutil.copy(small, tmp_path / 'own.db')}"])
    capsys.readouterr()
    for path in shared.iterdir():
        path.chmod(0o755 if path.is_dir() else 0o444)
    shared.chmod(0o555)
    ended = as_another_user([[*command, "--storage", url] for command in [*read, *write]], tmp_path / "told")
    capsys.readouterr()
    assert [code for code, _ in ended[: len(read)]] == [0] * len(read)
    assert [code for code, _ in ended[len(read) :]] == [2, 0, 2, 2]
    assert all("Traceback" not in words for _, words in ended)
    with open_database(url) as database, database.read() as connection:
        reason = connection.scalar(sa.text("SELECT reason FROM kd_study"))
    assert reason == ("in the log" if log == "left behind" else "all 32 trials are done")


def test_a_number_that_no_trial_can_have_is_refused(capsys: pytest.CaptureFixture[str], storage: str) -> None:
    assert run(["reproduce", "made", "9" * 30, "--storage", storage]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_table_of_trials_has_an_end(
    capsys: pytest.CaptureFixture[str], storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdsearch.cli.ask.LAST_TRIALS", 5)
    assert run(["trials", "made", "--storage", storage]) == 0
    shown = capsys.readouterr().out
    assert shown.count("complete") == 5
    assert "These are the last 5 of 32 trials. All: --all" in shown
    assert run(["trials", "made", "--all", "--storage", storage]) == 0
    assert capsys.readouterr().out.count("complete") == 32

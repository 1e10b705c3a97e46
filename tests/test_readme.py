"""The README and its pages: they name everything a user can say, and their examples hold."""

import re
import shlex
import shutil
from pathlib import Path

import click
import optuna
import pytest
import yaml
from starlette.routing import Mount

from kdsearch.cli.main import cli, run
from kdsearch.service import build_app
from kdsearch.spec import load_spec
from kdsearch.spec.sections import leaves_of
from kdsearch.spec.study import StudySpec

README = Path("README.md").read_text()
STUDY_FILE = Path("docs/study-file.md").read_text()
PAGES = {path: path.read_text() for path in (Path("README.md"), *sorted(Path("docs").glob("*.md")))}
ALL = "\n".join(PAGES.values())
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(language: str) -> list[str]:
    return [text for page in PAGES.values() for kind, text in BLOCK.findall(page) if kind == language]


def commands(group: click.Group, prefix: str = "kdsearch") -> list[str]:
    found = []
    for name, command in group.commands.items():
        is_group = isinstance(command, click.Group)
        found += commands(command, f"{prefix} {name}") if is_group else [f"{prefix} {name}"]
    return found


def test_every_command_is_named() -> None:
    assert [command for command in commands(cli) if command not in ALL] == []


def test_every_value_of_a_study_file_is_named() -> None:
    assert [path for path in leaves_of(StudySpec) if f"\n| `{path}` |" not in STUDY_FILE] == []


def test_every_route_is_named(tmp_path: Path) -> None:
    app = build_app(f"sqlite:///{tmp_path / 'none.db'}")
    mounted = next(r for r in app.routes if isinstance(r, Mount) and r.path == "/kdsearch/v1")
    routes = [route.path.lstrip("/") for route in mounted.routes]
    assert "studies/{name}/best" in routes
    assert [route for route in routes if f"`{route}" not in ALL] == []


def test_the_study_shown_is_the_study_shipped() -> None:
    shown = re.search(r"```yaml\n(name: quickstart.*?)```", README, re.DOTALL)
    assert shown is not None
    shipped = load_spec("studies/quickstart.yaml")
    assert load_spec(yaml.safe_load(shown[1])) == shipped


def test_the_lines_for_runs_that_exist_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = PAGES[Path("docs/answers.md")]
    section = README[README.index("## You have runs already") : README.index("## Ask")]
    section += answers[answers.index("## Runs that exist") : answers.index("## Whose luck")]
    lines = [line.partition("#")[0].split() for line in section.splitlines() if line.startswith("kdsearch ")]
    assert len(lines) >= 5
    (tmp_path / "studies").mkdir()
    shutil.copy("studies/public_tables.csv", tmp_path / "studies")
    monkeypatch.chdir(tmp_path)
    grid = [
        (o, t, k, lr, s)
        for o in ("sgd", "adamw")
        for t in "ab"
        for k in (1, 4, 16)
        for lr in (1, 2)
        for s in (0, 1)
    ]
    rows = [f"{o},{t},{k},{lr / 10},{s},{90 + 0.1 * s - 0.01 * k * lr}" for o, t, k, lr, s in grid]
    Path("runs.csv").write_text("\n".join(["optimizer,teacher,T,lr,seed,acc", *rows]))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(storage="sqlite:///optuna.db", study_name="mine", direction="maximize")
    for o, _, k, lr, s in grid:
        study.enqueue_trial({"optimizer": o, "T": float(k), "lr": lr / 10})
        trial = study.ask()
        trial.suggest_categorical("optimizer", ["sgd", "adamw"])
        study.tell(
            trial,
            0.9 + s / 1000 - 0.001 * trial.suggest_float("T", 1, 16) * trial.suggest_float("lr", 0.1, 0.2),
        )
    for words in lines:
        assert run(words[1:]) == 0, capsys.readouterr().err
    assert "cifar10-adam" in capsys.readouterr().out


def understand(command: click.Command, words: list[str], parent: click.Context | None = None) -> None:
    """Parse a command line and run nothing."""
    if not isinstance(command, click.Group):
        command.make_context(command.name, words, parent=parent)
        return
    context = click.Context(command, parent=parent)
    _, found, rest = command.resolve_command(context, words)
    assert found is not None
    understand(found, rest, context)


def test_every_command_line_is_understood() -> None:
    lines = [line for text in blocks("bash") for line in text.splitlines()]
    ours = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("kdsearch ")]
    assert len(ours) > 20
    for words in ours:
        understand(cli, words)


def test_every_python_example_is_python() -> None:
    examples = blocks("python")
    assert len(examples) >= 4
    for example in examples:
        compile(example, "example", "exec")


def test_every_whole_study_file_is_a_study() -> None:
    whole = [text for text in blocks("yaml") if text.startswith("name:")]
    assert whole
    for text in whole:
        load_spec(yaml.safe_load(text))

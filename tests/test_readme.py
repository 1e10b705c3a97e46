"""The README: it names everything a user can say, and its examples hold."""

import re
from pathlib import Path

import click
import yaml
from starlette.routing import Mount

from kdsearch.cli.main import cli
from kdsearch.service import build_app
from kdsearch.spec import load_spec
from kdsearch.spec.sections import leaves_of
from kdsearch.spec.study import StudySpec

README = Path("README.md").read_text()


def commands(group: click.Group, prefix: str = "kdsearch") -> list[str]:
    found = []
    for name, command in group.commands.items():
        is_group = isinstance(command, click.Group)
        found += commands(command, f"{prefix} {name}") if is_group else [f"{prefix} {name}"]
    return found


def test_every_command_is_named() -> None:
    assert [command for command in commands(cli) if command not in README] == []


def test_every_value_of_a_study_file_is_named() -> None:
    table = README[README.index("| path | default | meaning |") :]
    unnamed = [
        path
        for path in leaves_of(StudySpec)
        if f"`{path}`" not in table and f"`.{path.rsplit('.', 1)[-1]}`" not in table
    ]
    assert unnamed == []


def test_every_route_is_named(tmp_path: Path) -> None:
    app = build_app(f"sqlite:///{tmp_path / 'none.db'}")
    mounted = next(r for r in app.routes if isinstance(r, Mount) and r.path == "/kdsearch/v1")
    routes = [route.path.lstrip("/") for route in mounted.routes]
    assert "studies/{name}/best" in routes
    assert [route for route in routes if f"`{route}" not in README] == []


def test_the_study_shown_is_the_study_shipped() -> None:
    shown = re.search(r"```yaml\n(name: quickstart.*?)```", README, re.DOTALL)
    assert shown is not None
    shipped = load_spec("studies/quickstart.yaml")
    assert load_spec(yaml.safe_load(shown[1])) == shipped


def test_its_files_exist() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not Path(link).exists()] == []

"""What a shell is offered when Tab is pressed."""

from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from kdsearch.cli.main import cli


def completed(*words: str) -> list[str]:
    *before, begun = words
    found = ShellComplete(cli, {}, "kdsearch", "_KDSEARCH_COMPLETE").get_completions(before, begun)
    return [item.value for item in found]


@pytest.mark.parametrize("command", ["best", "trials", "forecast", "stop", "export", "report"])
def test_names_of_studies_are_completed(storage: str, command: str) -> None:
    assert completed(command, "--storage", storage, "m") == ["made"]
    assert completed(command, "--storage", storage, "x") == []


def test_factors_and_levels_of_the_study_are_completed(storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDSEARCH_STORAGE", storage)
    assert completed("compare", "made", "--factor", "") == ["optimizer.name"]
    assert completed("best", "made", "--by", "optimizer.name,opt") == ["optimizer.name,optimizer.name"]
    assert completed("best", "made", "--where", "optimizer.name=a") == ["optimizer.name=adamw"]


def test_where_there_is_no_database_nothing_is_completed_printed_or_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path / 'none.db'}"
    assert completed("best", "--storage", url, "") == []
    assert completed("best", "made", "--storage", url, "--where", "") == []
    assert capsys.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []

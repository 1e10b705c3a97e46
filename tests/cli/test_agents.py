"""The tools for agents, asked by the protocol's own client."""

import asyncio
import json
import sys

import pydantic
import pytest

from kdsearch.api import open_study
from kdsearch.cli.agents import MOST_CHARACTERS, MOST_ROWS, bounded, build_server
from kdsearch.spec import load_spec
from kdsearch.storage import StudyRecord, open_database
from kdsearch.trial import TrialResult

if tuple(map(int, pydantic.VERSION.split(".")[:2])) < (2, 12):
    pytest.skip("the package mcp needs pydantic 2.12", allow_module_level=True)
mcp = pytest.importorskip("mcp", minversion=None)

ASKING = {"studies", "best", "compare", "trials", "forecast", "recommend", "answer", "dry_run"}
SPEC = {
    "name": "asked",
    "training": {"epochs": 1},
    "tune": {"objective.temperature": {"low": 1, "high": 40, "log": True}},
}


def ask(server, tool=None, **arguments):
    """Return what a tool says; without one, the tools."""

    async def asked():
        async with mcp.Client(server) as client:
            if tool is None:
                return (await client.list_tools()).tools
            return await client.call_tool(tool, arguments)

    return asyncio.run(asked())


def answer_of(server, tool, **arguments):
    result = ask(server, tool, **arguments)
    assert not result.is_error, result.content
    return result.structured_content


def refusal_of(server, tool, **arguments):
    result = ask(server, tool, **arguments)
    assert result.is_error
    return result.content[0].text


def test_an_agent_can_only_ask_unless_it_may_launch(storage):
    tools = ask(build_server(storage))
    assert {tool.name for tool in tools} == ASKING
    assert all(tool.annotations.read_only_hint for tool in tools)
    more = {tool.name: tool for tool in ask(build_server(storage, allow_launch=True))}
    assert more.keys() - ASKING == {"launch", "stop"}
    assert not more["launch"].annotations.read_only_hint


def test_answers_are_those_of_the_commands(storage):
    server, study = build_server(storage), open_study("made", storage=storage)
    best = answer_of(server, "best", study="made", where={"optimizer.name": "sgd"})
    (expected,) = study.best(where={"optimizer.name": "sgd"}).to_dict()["setups"]
    (row,) = best["rows"]
    assert (row["temperature"], row["interval_low"]) == (expected["temperature"], expected["interval"][0])
    assert row["decided"] == expected["forecast"]["decided"]
    comparison = answer_of(server, "compare", study="made", factor="optimizer.name")
    assert comparison["words"] == study.compare("optimizer.name").statement
    assert [row["study"] for row in answer_of(server, "studies")["rows"]] == ["made"]
    advice = answer_of(server, "recommend", setup={"optimizer.name": "adamw"})
    assert advice["recommendation"]["temperature"] == pytest.approx(3, rel=0.5)
    page = answer_of(server, "trials", study="made", first=30, most=5)
    assert [row["number"] for row in page["rows"]] == [30, 31]


def test_doubt_is_said_in_the_same_words(tmp_path):
    url = f"sqlite:///{tmp_path / 'few.db'}"
    with open_database(url, create=True) as database:
        record = StudyRecord.open(database, load_spec(SPEC))
        points = [{"objective.temperature": t} for t in (1.0, 2.0, 3.0, 5.0, 9.0, 27.0)]
        accuracies = (0.7, 0.72, 0.69, 0.72, 0.7, 0.69)
        for trial, accuracy in zip(record.start({}, points, "pack"), accuracies, strict=True):
            record.finish(TrialResult(trial.number, "complete", 1, {"val_accuracy": accuracy}))
    server = build_server(url)
    best = answer_of(server, "best", study="asked")
    assert "not decided" in best["words"]
    assert not best["rows"][0]["decided"]
    assert any("Not decided" in note for note in best["notes"])
    assert "0 of 1 setups are decided" in answer_of(server, "forecast", study="asked")["words"]


def test_a_file_of_runs_is_answered_with_how_it_was_read(storage):
    found = answer_of(build_server(storage), "answer", file="studies/public_tables.csv", setup=["table"])
    assert found["read"]["setup"] == ["table"]
    assert not any(row["decided"] for row in found["rows"])


def test_what_is_wrong_is_said_in_words(storage, tmp_path):
    server = build_server(storage, allow_launch=True)
    assert "nothing" in refusal_of(server, "best", study="nothing")
    assert "`most` from 1 to 50" in refusal_of(server, "trials", study="made", most=51)
    assert "`level` must be" in refusal_of(server, "best", study="made", level=2)
    assert "live driver" in refusal_of(server, "stop", study="made")
    assert "Did you mean `temperature`?" in refusal_of(
        server, "dry_run", spec={**SPEC, "objective": {"temprature": 4}}
    )
    assert "there.db" in refusal_of(build_server(f"sqlite:///{tmp_path / 'not there.db'}"), "studies")


def test_a_dry_run_runs_no_code_of_a_study_unless_launching_is_allowed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "surprise.py").write_text("open('ran', 'w').close()\ndef train(trial, report): ...\n")
    spec = {**SPEC, "trainer": "surprise:train"}
    looked = answer_of(build_server("sqlite:///none.db"), "dry_run", spec=spec)
    assert (looked["size"]["trials"], looked["size"]["packs"]) == (96, 12)
    assert "--allow-launch" in looked["notes"][0]
    assert not (tmp_path / "ran").exists()
    looked = answer_of(build_server("sqlite:///none.db", allow_launch=True), "dry_run", spec=spec)
    assert (tmp_path / "ran").exists()
    assert any("trainer" in note for note in looked["notes"])


def test_a_launch_that_is_refused_says_why(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("kdsearch.cli.agents._AT_ONCE_S", 60.0)
    (tmp_path / "study.yaml").write_text(json.dumps({**SPEC, "trainer": "nowhere:train"}))
    server = build_server("sqlite:///none.db", allow_launch=True)
    assert "No module named 'nowhere'" in refusal_of(server, "launch", spec="study.yaml")


def test_every_answer_is_bounded():
    rows = [{"text": "x" * 5_000, "number": k} for k in range(200)]
    found = bounded("Words.", rows, ["note"] * 60)
    assert len(json.dumps(found)) <= MOST_CHARACTERS
    assert found["left_out"] == {"rows": 200 - len(found["rows"]), "notes": 60 - len(found["notes"])}
    assert len(bounded("Words.", [{}] * 200)["rows"]) == MOST_ROWS


def test_the_command_speaks_the_protocol_over_its_streams(storage):
    command = mcp.StdioServerParameters(
        command=sys.executable, args=["-m", "kdsearch", "mcp", "--storage", storage]
    )
    assert answer_of(command, "best", study="made")["rows"][0]["optimizer.name"] == "sgd"

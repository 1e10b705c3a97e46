import json
import re
import time

import optuna
import optuna_dashboard
import pytest

from kdsearch.analysis import best
from kdsearch.analysis.report.headline import headline
from kdsearch.analysis.stored_study import StoredStudy
from kdsearch.service.answering.dashboard_notes import plain_note
from kdsearch.spec import TEMPERATURE
from kdsearch.storage import StudyRecord, load_optuna_study, load_spec_of, load_trials, open_database
from kdsearch.trial import TrialResult

ODD_REASON = "```\n<img src=x> [a link](http://evil.example)\n````"


def told_of(client, study_id=1):
    """Return what the dashboard is told of a study.

    It waits until the answer has come.
    """
    until = time.monotonic() + 300
    while time.monotonic() < until:
        told = client.get(f"/api/studies/{study_id}").json()
        if "being computed" not in told["note"]["body"]:
            return told
        time.sleep(0.1)
    pytest.fail("the answer did not come")


@pytest.fixture
def mixed(tmp_path, store, connect):
    """Give a database with things that people and others left.

    People wrote a note, a reason is odd, and one study is not ours.
    """
    url = f"sqlite:///{tmp_path}/mixed.db"
    store(url)
    with open_database(url) as database:
        spec = load_spec_of(database, "demo")
        record = StudyRecord.open(database, spec)
        (trial,) = record.start(spec.setups()[0], [{TEMPERATURE: 3.0}], "pack")
        record.finish(TrialResult(trial.number, "failed", 1, {}, ODD_REASON))
        optuna_dashboard.save_note(load_optuna_study(database, "demo"), "written by hand")
    other = optuna.create_study(storage=url, study_name="other")
    other.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    return connect(url)


def test_the_dashboards_page_and_what_it_loads_are_served(client):
    page = client.get("/dashboard/studies/1")
    assert page.status_code == 200
    scripts = re.findall(r'src="([^"]+)"', page.text)
    assert scripts == ["/static/bundle.js"]
    assert client.get(scripts[0]).status_code == 200
    assert client.get("/favicon.ico").status_code == 200


def test_a_client_that_takes_no_encoding_is_served_too(client):
    answer = client.get("/static/bundle.js", headers={"accept-encoding": "identity"})
    assert answer.status_code == 200
    assert "content-encoding" not in answer.headers


def test_its_api_tells_the_study_its_parameters_and_curves(client):
    (summary,) = client.get("/api/studies").json()["study_summaries"]
    assert summary["study_name"] == "demo"
    study = client.get(f"/api/studies/{summary['study_id']}").json()
    states = [trial["state"] for trial in study["trials"]]
    assert (states.count("Complete"), states.count("Fail")) == (14, 2)
    complete = next(trial for trial in study["trials"] if trial["state"] == "Complete")
    assert {p["name"] for p in complete["params"]} == {"objective.temperature", "optimizer.name"}
    assert len(complete["intermediate_values"]) >= 2
    assert study["has_intermediate_values"]


def test_its_root_is_ours(client):
    assert "<h1>Studies</h1>" in client.get("/").text


def test_a_study_has_its_answer_as_a_note(client, storage_url):
    with open_database(storage_url) as database:
        spec, trials = load_spec_of(database, "demo"), load_trials(database, "demo")
    note = told_of(client)["note"]["body"]
    assert note.startswith(f"**{headline(best(spec, trials))}**")
    assert "](/studies/demo)" in note
    assert "| 1. sgd wants a higher temperature than adamw | not resolved |" in note
    assert "their doubt includes the luck of the initialisation alone." in note
    assert "the luckiest one of all setups together: it is no answer" in note


def test_its_curves_are_drawn_there_with_their_doubt(client, storage_url):
    figures = [json.loads(each["graph_object"]) for each in told_of(client)["plotly_graph_objects"]]
    with open_database(storage_url) as database:
        curves = StoredStudy(database, "demo").curves()
    assert len(figures) == len(curves) == 2
    for figure, curve in zip(figures, curves, strict=True):
        lines = [trace["y"] for trace in figure["data"] if trace.get("mode") == "lines"]
        assert curve.mean in lines
        assert [*curve.high, *reversed(curve.low)] in [trace["y"] for trace in figure["data"]]
        assert figure["layout"]["height"] < 450  # what the dashboard gives it


def test_a_trial_has_a_note_of_how_it_ended_and_how_to_train_it_again(client):
    first, second = told_of(client)["trials"][:2]
    assert first["note"]["body"] == (
        "**Failed at T = 1.3.**\n\nSetup: optimizer name sgd.\n\n```text\ndiverged\n```\n\n"
        "Train it again: `kdsearch reproduce demo 0`\n\n"
        "[Trial 0 on its own page](/studies/demo/trials/0): curve, parameters, seed."
    )
    assert second["note"]["body"].startswith("**Complete at T = 2.0: 88.79% on the validation split.**")


def test_what_people_wrote_stays_and_no_reason_becomes_markup(mixed):
    told = told_of(mixed)
    assert told["note"]["body"].endswith("\n\n---\n\nwritten by hand")
    assert f"`````text\n{ODD_REASON}\n`````" in told["trials"][-1]["note"]["body"]
    other = told_of(mixed, study_id=2)
    assert (other["name"], other["note"]["body"], other["plotly_graph_objects"]) == ("other", "", [])
    assert other["trials"][0]["note"]["body"] == ""


def test_text_of_people_is_shown_as_it_is_but_for_code():
    text = "*a* [b](http://evil.example) <i> wrn_40_2 `x_*` and one ` alone"
    shown = r"\*a\* \[b\](http://evil.example) \<i\> wrn\_40\_2 `x_*` and one \` alone"
    assert plain_note(text).text == shown


def test_notes_are_never_written(client, storage_url):
    told_of(client)
    with open_database(storage_url) as database:
        study = load_optuna_study(database, "demo")
        assert study._storage.get_study_system_attrs(study._study_id) == {}


def test_a_study_whose_answer_is_not_there_is_shown_with_the_reason(tmp_path, store, connect, monkeypatch):
    monkeypatch.setattr("kdsearch.service.dashboard.FIRST_ANSWER_S", 0.0)
    url = f"sqlite:///{tmp_path}/bad.db"
    store(url)
    client = connect(url)
    early = client.get("/api/studies/1").json()
    assert early["note"]["body"].startswith("The answer is being computed.")
    assert len(early["trials"]) == 16
    with open_database(url) as database, database.write() as connection:
        connection.exec_driver_sql('UPDATE kd_study SET spec = \'{"name": "demo"}\'')
    late = client.get("/api/studies/1").json()
    assert "the stored spec of 'demo'" in late["note"]["body"]
    assert len(late["trials"]) == 16


def test_a_very_long_answer_is_passed_on_and_the_note_comes_with_the_next_look(client, monkeypatch):
    whole, short = "/api/studies/1", "/api/studies/1?after=16"
    told_of(client)
    monkeypatch.setattr("kdsearch.service.dashboard._MOST_BYTES", 5_000)  # of bytes without our notes
    assert client.get(whole).json()["note"]["body"] == ""
    assert client.get(short).json()["note"]["body"].startswith("**The recommended temperatures")


def test_the_page_hides_what_would_write_and_is_not_sent_again(client):
    page = client.get("/dashboard")
    assert 'button[aria-label="delete study"]' in page.text
    headers = {"if-none-match": page.headers["etag"]}
    assert client.get("/dashboard", headers=headers).status_code == 304
    assert "unsafe-inline" in page.headers["content-security-policy"]


def test_what_would_write_is_refused_in_words_that_the_dashboard_shows(client):
    refused = client.put("/api/studies/1/note", json={"version": 1, "body": "x"})
    assert refused.status_code == 405
    assert "only reads" in refused.json()["reason"]

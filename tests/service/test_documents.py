import math
import re
import time

import pytest

import kdsearch
from kdsearch.analysis import best, compare, importance
from kdsearch.analysis.questions.verdicts import verdicts_of
from kdsearch.analysis.report.file import write_report
from kdsearch.analysis.response.fitted import fit_response
from kdsearch.spec import load_spec
from kdsearch.storage import StudyRecord, list_studies, load_spec_of, load_study, load_trials, open_database

API = "/kdsearch/v1"


@pytest.fixture
def stored(storage_url):
    with open_database(storage_url) as database:
        yield database, load_spec_of(database, "demo"), load_trials(database, "demo")


def as_json(document):
    """Return a document as it reads after a way through JSON."""
    import json

    return json.loads(json.dumps(document))


def test_best_is_the_commands_document(client, stored):
    database, spec, trials = stored
    document = client.get(f"{API}/studies/demo/best").json()
    assert document == as_json(best(spec, trials).of_study(load_study(database, "demo")).to_dict())
    assert (document["state"], document["setups"][0]["stopped"]) == ("finished", None)
    assert document["setups"][1]["stopped"] == "expected to lose little"


def test_best_takes_the_commands_options(client, stored):
    database, spec, trials = stored
    options = {"by": "optimizer.name", "where": "optimizer.name=sgd", "level": 0.8, "tolerance": 0.01}
    expected = best(
        spec, trials, by=["optimizer.name"], where={"optimizer.name": "sgd"}, level=0.8, tolerance=0.01
    )
    answer = client.get(f"{API}/studies/demo/best", params=options).json()
    assert answer == as_json(expected.of_study(load_study(database, "demo")).to_dict())
    assert len(answer["setups"]) == 1


def test_an_answer_is_not_kept_for_what_python_takes_for_the_same(tmp_path, connect):
    url = f"sqlite:///{tmp_path / 'levels.db'}"
    tune = {"objective.temperature": {"low": 1, "high": 40}}
    with open_database(url, create=True) as database:
        StudyRecord.open(
            database, load_spec({"name": "s", "setup": {"objective.alpha": [0, 0.5]}, "tune": tune})
        )
    served = connect(url)
    statuses = [
        served.get(f"{API}/studies/s/best", params={"where": f"objective.alpha={level}"}).status_code
        for level in ("0", "0.0", "false", "0")
    ]
    assert statuses == [200, 200, 422, 200]


def test_compare_is_the_commands_document(client, stored):
    _, spec, trials = stored
    answer = client.get(f"{API}/studies/demo/compare", params={"factor": "optimizer.name"})
    assert answer.json() == as_json(compare(fit_response(spec, trials), "optimizer.name").to_dict())


def test_page_report_python_and_json_draw_the_same_figures(client, storage_url, stored, tmp_path):
    figures = {
        found.kind: found for found in kdsearch.open_study("demo", storage=storage_url).figures().values()
    }
    documents = client.get(f"{API}/studies/demo/figures").json()
    assert documents == [as_json(found.to_dict()) for found in figures.values()]
    (one,) = client.get(f"{API}/studies/demo/figures", params={"kind": "comparison"}).json()
    assert one == next(document for document in documents if document["kind"] == "comparison")
    (pair,) = client.get(f"{API}/studies/demo/compare", params={"factor": "optimizer.name"}).json()["pairs"]
    (row,) = one["parts"]
    (point,) = (series for series in row["series"] if series["look"] == "point")
    drawn = [math.log(value[0]) for value in (point["x"], point["low"], point["high"])]
    assert drawn == pytest.approx([pair["shift"], *pair["interval"]])
    for _ in range(600):
        if "being computed" not in (page := client.get("/studies/demo").text):
            break
        time.sleep(0.2)
    report = write_report(stored[0], "demo", tmp_path / "report.html").read_text()
    plots = [re.findall(r'<svg class="(?:chart|strip)".*?</svg>', html, re.DOTALL) for html in (page, report)]
    assert plots[0] == plots[1]
    assert len(plots[0]) > len(documents)
    for found in figures.values():
        assert f"figures?level=0.9&amp;tolerance=0.005&amp;kind={found.kind}" in page
        assert "figures?" not in report, "it opens offline"


def test_a_figure_that_a_study_has_not_yet_is_named(tmp_path, store, connect):
    url = f"sqlite:///{tmp_path}/empty.db"
    store(url, per_setup=0)
    answer = connect(url).get(f"{API}/studies/demo/figures", params={"kind": "progress"})
    assert (answer.status_code, answer.json()["error"][:38]) == (
        404,
        "'demo' has no figure 'progress' yet. I",
    )
    assert connect(url).get(f"{API}/studies/demo/figures", params={"kind": "pie"}).status_code == 422


def test_importance_is_the_commands_document(client, stored):
    _, spec, trials = stored
    asked = {"where": "optimizer.name=sgd", "level": 0.8}
    answer = client.get(f"{API}/studies/demo/importance", params=asked)
    expected = importance(fit_response(spec, trials), where={"optimizer.name": "sgd"}, level=0.8)
    assert answer.json() == as_json(expected.to_dict())


def test_forecast_is_the_commands_document(client, storage_url):
    answer = client.get(
        f"{API}/studies/demo/forecast", params={"regret": 0.0001, "where": "optimizer.name=sgd"}
    )
    study = kdsearch.open_study("demo", storage=storage_url)
    expected = study.forecast(regret=0.0001, where={"optimizer.name": "sgd"})
    assert answer.json() == as_json(expected.to_dict())
    assert answer.json()["budgets"]["trials"] == {"spent": 16, "limit": 16}
    assert client.get(f"{API}/studies/demo/forecast?regret=0").status_code == 422


def test_a_forecast_goes_by_the_regret_at_which_the_study_stops(connect, tmp_path):
    url = f"sqlite:///{tmp_path / 'stops.db'}"
    tune = {"objective.temperature": {"low": 1, "high": 40, "log": True}}
    search = {"trials": 8, "stop": {"regret": 0.0005}}
    with open_database(url, create=True) as database:
        StudyRecord.open(database, load_spec({"name": "stops", "tune": tune, "search": search}))
    client = connect(url)
    for asked, target in (("best", 0.0005), ("forecast", 0.0005), ("forecast?regret=0.01", 0.01)):
        assert client.get(f"{API}/studies/stops/{asked}").json()["target"] == target


def test_trials_and_studies_are_the_commands_documents(client, stored):
    database, _, trials = stored
    assert client.get(f"{API}/studies/demo/trials").json() == as_json([t.to_dict() for t in trials])
    studies = as_json([study.to_dict() for study in list_studies(database)])
    assert client.get(f"{API}/studies").json() == studies
    assert client.get(f"{API}/studies/demo").json() == studies[0]
    assert client.get(f"{API}/teachers").json() == []


def test_health_counts_the_studies(client):
    assert client.get(f"{API}/health").json() == {"status": "ok", "studies": 1}


@pytest.mark.parametrize("address", ["", "/best", "/trials", "/compare?factor=optimizer.name", "/importance"])
def test_an_unknown_study_is_not_found_and_the_known_ones_are_named(client, address):
    answer = client.get(f"{API}/studies/other{address}")
    assert answer.status_code == 404
    assert "'other'" in answer.json()["error"]
    assert "demo" in answer.json()["error"]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("/best?level=2", "`level` must be a number from 0.5 to 0.999, got '2'"),
        ("/best?level=high", "`level`"),
        ("/best?tolerance=nan", "`tolerance`"),
        ("/best?tolerance=0.5", "`tolerance` must be a number from 0 to 0.1, got '0.5'"),
        ("/forecast?regret=0.2", "`regret` must be a number from 1e-06 to 0.1, got '0.2'"),
        ("/best?by=optimizer.lr", "Factors: optimizer.name"),
        ("/best?where=optimizer.name", "`where` must be PATH=VALUE"),
        ("/best?where=optimizer.name=lion", "Levels: sgd, adamw"),
        ("/best?where=optimizer.name=[", "one value in YAML for optimizer.name, got '['"),
        ("/best?lvel=0.9", "Known: by, level, tolerance, where."),
        ("/compare", "`factor` is missing"),
        ("/compare?factor=optimizer.lr", "Factors: optimizer.name"),
        ("/importance?factor=optimizer.name", "Known: level, where."),
        ("/trials?state=failed", "`limit` is missing"),
        ("/trials?limit=0", "`limit` must be a whole number from 1 to 10000, got '0'"),
        ("/trials?limit=5&state=lost", "`state` must be one of complete, pruned, failed, running, waiting"),
        ("/best?level=0.9_5", "`level` must be a number from 0.5 to 0.999, got '0.9_5'"),
        ("/best?level=0.9&level=0.6", "`level` must be given once, got it 2 times"),
        ("/compare?factor=optimizer.name&factor=optimizer.lr", "`factor` must be given once"),
        ("/trials?limit=5&limit=6", "`limit` must be given once"),
    ],
)
def test_a_wrong_parameter_is_named_with_what_is_allowed(client, address, said):
    answer = client.get(f"{API}/studies/demo{address}")
    assert answer.status_code == 422
    assert said in answer.json()["error"]


def test_an_unknown_address_is_not_the_dashboards(client):
    answer = client.get(f"{API}/nothing")
    assert (answer.status_code, answer.json()) == (404, {"error": "Not Found"})


def test_recommend_is_the_commands_document(client, storage_url):
    asked = {"set": "optimizer.name=adam", "study": "demo", "level": 0.8}
    answer = client.get(f"{API}/recommend", params=asked)
    expected = kdsearch.recommend({"optimizer.name": "adam"}, storage=storage_url, level=0.8)
    assert answer.json() == as_json(expected.to_dict())


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "`set` is missing"),
        ("?set=optimizer.name", "`set` must be PATH=VALUE"),
        ("?set=optimizer.name=sgd&study=other", "'other'. Known: demo"),
        ("?set=objective.temperature=4", "`set` must not name objective.temperature"),
        ("?set=optimizer.name=lamb", "`set` must name a setup that can be trained. `optimizer.name` must be"),
    ],
)
def test_a_wrong_wish_for_a_recommendation_is_named(client, query, said):
    answer = client.get(f"{API}/recommend{query}")
    assert answer.status_code == 422
    assert said in answer.json()["error"]


def test_verdict_is_the_commands_document(client, stored):
    _, spec, trials = stored
    answer = client.get(f"{API}/studies/demo/verdict").json()
    assert answer == as_json(verdicts_of(fit_response(spec, trials)).to_dict())
    assert [found["verdict"] for found in answer["verdicts"]] == ["not resolved"]

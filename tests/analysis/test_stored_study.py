"""Every face asks a stored study through one reader.

Python, the report and the figures show equal numbers.
"""

import math

import numpy as np
import pandas as pd
import pytest

import kdsearch
from kdsearch.analysis import best, compare, importance
from kdsearch.analysis.labels import points_text, temperature_text
from kdsearch.analysis.questions.best import BestAnswer
from kdsearch.analysis.questions.forecast import forecast_of
from kdsearch.analysis.report.contents import load_findings
from kdsearch.analysis.report.inks import html_of, latex_of, markdown_of, text_of
from kdsearch.analysis.report.panels import response_panels
from kdsearch.analysis.report.plots import plot_best_temperatures, plot_response
from kdsearch.analysis.response.fitted import fit_response
from kdsearch.analysis.stored_study import StoredStudy
from kdsearch.spec import TEMPERATURE, load_spec
from kdsearch.storage import StudyRecord, load_trials, open_database
from kdsearch.trial import TrialResult

SPEC = {
    "name": "demo",
    "setup": {"optimizer.name": ["sgd", "adamw"]},
    "tune": {
        TEMPERATURE: {"low": 1, "high": 40, "log": True},
        "optimizer.lr": {"low": 0.01, "high": 1.0, "log": True},
    },
}


def a_stored_study(folder, seed):
    """Store a study of random curves.

    Some are steep, some flat, and one setup is too short for an answer.
    """
    rng = np.random.default_rng(seed)
    spec = load_spec(SPEC)
    url = f"sqlite:///{folder}/{seed}.db"
    with open_database(url, create=True) as database:
        record = StudyRecord.open(database, spec)
        for at, setup in enumerate(spec.setups()):
            n_trials, top = (2 if seed == at == 1 else 14), rng.uniform(0, 1)
            points = [
                {TEMPERATURE: float(40**u), "optimizer.lr": float(10 ** (2 * v - 2))}
                for u, v in rng.random((n_trials, 2))
            ]
            for trial in record.start(setup, points, f"p-{at}"):
                unit = math.log(trial.params[TEMPERATURE]) / math.log(40)
                accuracy = 0.9 - rng.choice([0, 0.05]) * abs(unit - top) + rng.normal(0, 0.003)
                metrics = {"val_accuracy": accuracy, "test_accuracy": accuracy - 0.01}
                record.report(1, {trial.number: {"val_accuracy": accuracy}})
                record.finish(TrialResult(trial.number, "complete", 20, metrics, seconds=1.0))
        record.set_state("finished", "all trials are done")
    return url, spec


@pytest.fixture(scope="module", params=[0, 1])
def stored(request, tmp_path_factory):
    url, spec = a_stored_study(tmp_path_factory.mktemp("stored"), request.param)
    with open_database(url) as database:
        yield url, spec, database


def test_each_question_has_the_answer_of_its_own_function_in_whatever_order_it_is_asked(stored):
    url, spec, database = stored
    study, trials = StoredStudy(database, "demo"), load_trials(database, "demo")
    assert study.importance().to_dict() == importance(fit_response(spec, trials)).to_dict()
    assert (
        study.compare("optimizer.name").to_dict()
        == compare(fit_response(spec, trials), "optimizer.name").to_dict()
    )
    assert study.forecast().setups == forecast_of(fit_response(spec, trials), slots=study.slots).setups
    assert study.best().setups == best(spec, trials, slots=study.slots).setups
    assert kdsearch.open_study("demo", storage=url).best().to_dict() == study.best().to_dict()
    assert study.best(by="optimizer.name").setups == study.best(by=["optimizer.name"]).setups


def test_figure_table_frame_and_json_show_the_same_numbers(stored):
    url, _, database = stored
    findings = load_findings(database, "demo")
    document = kdsearch.open_study("demo", storage=url).best().to_dict()["setups"]
    assert findings.answer.to_dict()["setups"] == document
    panels = response_panels(findings.curves, findings.trials, findings.answer)
    figure = plot_response(findings.curves, findings.trials, findings.answer)
    diamonds = [t for t in figure.data if t.marker.symbol == "diamond" and t.x[0] is not None]
    forest = plot_best_temperatures(findings.answer, (1.0, 40.0))
    ranked = [t for t in forest.data if t.marker.symbol == "diamond" and t.x[0] is not None]
    known = [setup for setup in document if setup["temperature"] is not None]
    for traces in (diamonds, ranked):
        assert [t.x[0] for t in traces] == [setup["temperature"] for setup in known]
    for trace, setup in zip(diamonds, known, strict=True):
        assert trace.y[0] == setup["accuracy"]
        ends = (trace.x[0] - trace.error_x.arrayminus[0], trace.x[0] + trace.error_x.array[0])
        assert ends == pytest.approx(setup["interval"])
    table = findings.answer.table()
    heads = [heading.text for heading in table.headings]
    frame = findings.answer.to_frame()
    for panel, row, setup, (_, flat) in zip(panels, table.rows, document, frame.iterrows(), strict=True):
        assert panel.answer.to_dict() == setup
        told = dict(zip(heads, row, strict=True))
        known = setup["temperature"] is not None
        assert told["best T"] == (temperature_text(setup["temperature"]) if known else "–")
        assert told["accuracy %"].split(" ±")[0] == points_text(setup["accuracy"])
        assert told["points lost at T=4"] == points_text((setup["regret_of"] or {}).get("4"))
        assert pd.isna(flat["temperature"]) != known
        assert not known or (flat["temperature"], flat["interval_low"]) == (
            setup["temperature"],
            setup["interval"][0],
        )


def test_every_ink_has_every_cell(stored):
    _, _, database = stored
    table = StoredStudy(database, "demo").best().table()
    inks = {"text": text_of(table), "markdown": markdown_of(table), "html": html_of(table)}
    for ink in inks.values():
        for row in ([heading.text for heading in table.headings], *table.rows):
            assert all(cell in ink for cell in row)
    latex = latex_of(table)
    assert latex.count("&") == (len(table.headings) - 1) * (len(table.rows) + 1)
    assert table.rows[0][0] in latex


def test_a_notebook_and_the_prompt_show_the_table(stored):
    url, _, _ = stored
    study = kdsearch.open_study("demo", storage=url)
    answer = study.best()
    done = study.summary().progress.finished
    assert repr(study) == f"<Study demo: finished, {done} of 96 trials finished>"
    assert repr(answer).startswith("Best temperature per setup of demo")
    assert "<caption>Best temperature per setup of demo</caption>" in answer._repr_html_()
    assert answer._repr_html_() in study._repr_html_()
    for found in (study.compare("optimizer.name"), study.forecast(), study.importance()):
        assert found._repr_html_().startswith("<table>")
        assert len(found.to_frame()) == len(found.rows())
    assert "Accuracy over temperature" in study.figures()


def test_what_a_notebook_shows_is_never_markup():
    hostile = BestAnswer("<script>alert(1)</script>", 0.9, 0.005, [])
    assert "<script>" not in hostile._repr_html_()
    assert "&lt;script&gt;" in hostile._repr_html_()

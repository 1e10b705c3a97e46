"""Page, report, plotly and JSON show the same numbers.

They are those of `best --format json`, for any study.
"""

import json
import math
import re
from datetime import UTC, datetime
from html import escape

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from kdsearch.analysis.labels import temperature_text
from kdsearch.analysis.questions.best import best_of
from kdsearch.analysis.questions.comparison import compare
from kdsearch.analysis.questions.importance import importance
from kdsearch.analysis.report.contents import Findings, figure_sections
from kdsearch.analysis.report.figures import Figure
from kdsearch.analysis.report.file import report_html
from kdsearch.analysis.response.fitted import fit_response, response_curves
from kdsearch.spec import TEMPERATURE, load_spec
from kdsearch.storage import Progress, StudySummary, TrialRow

NOW = datetime(2026, 1, 2, tzinfo=UTC)
LR = "optimizer.lr"
SETUPS = {
    1: {},
    2: {"optimizer.name": ["sgd", "adamw"]},
    12: {"optimizer.name": ["sgd", "adamw", "adam"], "teacher.finetune.epochs": [2, 5, 20, 40]},
}
SHAPES = {
    "peak": lambda log_t, rng: (
        0.9 - 0.02 * (log_t - rng.uniform(0, 3.7)) ** 2 + 0.003 * rng.standard_normal(len(log_t))
    ),
    "flat": lambda log_t, rng: 0.8 + 0.0005 * rng.standard_normal(len(log_t)),
    "ceiling": lambda log_t, rng: 1.0 + 0 * log_t,
    "ties": lambda log_t, rng: np.round(0.7 + 0.02 * np.sin(log_t), 2),
    "noise": lambda log_t, rng: 0.5 + 0.05 * rng.standard_normal(len(log_t)),
}


def findings_of(n_setups: int, per_setup: int, shape: str, seed: int) -> Findings:
    rng = np.random.default_rng(seed)
    tune = {TEMPERATURE: {"low": 1, "high": 40, "log": True}, LR: {"low": 0.01, "high": 1, "log": True}}
    spec = load_spec({"name": "s", "setup": SETUPS[n_setups], "tune": tune})
    trials = []
    for setup in spec.setups():
        log_t = rng.uniform(0, math.log(40), per_setup)
        accuracies = np.clip(SHAPES[shape](log_t, rng), 0, 1)
        for place, accuracy in zip(log_t, accuracies, strict=True):
            lost = rng.random() < 0.1
            state, reason = ("failed", "diverged") if lost else ("complete", None)
            params = {TEMPERATURE: float(np.exp(place)), LR: float(10 ** rng.uniform(-2, 0))}
            number, epochs = len(trials), spec.training.epochs
            value = None if lost else float(accuracy)
            trials.append(TrialRow(number, state, reason, setup, params, number, epochs, val_accuracy=value))
    response = fit_response(spec, trials)
    factors = [path for path, levels in spec.setup.items() if len(levels) > 1]
    return Findings(
        spec=spec,
        trials=trials,
        answer=best_of(response, trials),
        curves=response_curves(response),
        comparisons=[compare(response, factor) for factor in factors],
        learning={t.number: [(1, 0.3), (20, t.val_accuracy)] for t in trials if t.val_accuracy is not None},
        teachers=[],
        runs=[],
        study=StudySummary("s", "finished", 2, Progress(96), NOW, NOW, None),
        importance=importance(response),
    )


def of_look(series, *looks):
    return [one for one in series if one["look"] in looks]


@settings(max_examples=8, derandomize=True)
@given(
    n_setups=st.sampled_from([1, 2]),
    per_setup=st.integers(0, 16),
    shape=st.sampled_from(sorted(SHAPES)),
    seed=st.integers(0, 10**6),
)
@example(n_setups=12, per_setup=6, shape="peak", seed=1)
@example(n_setups=2, per_setup=3, shape="peak", seed=2)  # too few for an answer
@example(n_setups=1, per_setup=14, shape="ceiling", seed=3)
@example(n_setups=2, per_setup=14, shape="flat", seed=4)
@example(n_setups=1, per_setup=12, shape="ties", seed=5)
def test_every_face_of_a_random_study_shows_the_same_numbers(n_setups, per_setup, shape, seed):
    findings = findings_of(n_setups, per_setup, shape, seed)
    told = json.loads(json.dumps(findings.answer.to_dict(), allow_nan=False))["setups"]
    figures = {section.figure.kind: section.figure for section in figure_sections(findings)}
    documents = {kind: json.loads(json.dumps(f.to_dict(), allow_nan=False)) for kind, f in figures.items()}
    for kind, figure in figures.items():
        assert TypeAdapter(Figure).validate_python(documents[kind]) == figure, "JSON has all of it"
    html = report_html(findings, written=NOW)
    cards = re.findall(r'<svg class="chart".*?</svg>', html, re.DOTALL)
    strips = re.findall(r"<li>.*?</li>", html.split("Best temperatures side by side</h2>")[1], re.DOTALL)
    drawn = figures["response"].to_plotly()
    for index, setup in enumerate(told):
        part = documents["response"]["parts"][index]
        check_document(part, documents["best-temperatures"]["parts"][index], setup)
        check_curve(part, findings.curves[index])
        check_words(part["words"], findings.answer.table().rows[index], setup)
        check_svg(cards[index], part, setup)
        check_strip(strips[index], figures["best-temperatures"].x, setup)
        check_plotly(drawn, index, part, setup)
    check_comparison(documents.get("comparison"), findings.comparisons)
    for figure in figures.values():
        assert figure.to_plotly().layout.meta["alt"] == figure.alt
        for part in figure.parts:
            assert str(escape(part.words)).replace("&#x27;", "&#39;") in html


def check_document(card, row, setup):
    """Figures as data say what `best --format json` says.

    They say it to the last digit, and nothing where it has none.
    """
    near = [[s["low"][0], s["high"][0]] for part in (card, row) for s in of_look(part["series"], "near")]
    assert near == ([setup["near_optimal"]] * 2 if setup["near_optimal"] else [])
    best = of_look(card["series"], "best") + of_look(row["series"], "point")
    assert len(best) == (0 if setup["temperature"] is None else 2)
    for mark in best:
        assert [mark["x"][0], mark["low"][0], mark["high"][0]] == [setup["temperature"], *setup["interval"]]
    assert all(mark["y"] == [setup["accuracy"]] for mark in best[:1])
    assert row["words"] == card["words"]


def check_curve(part, curve):
    drawn = [[s["x"], s["y"], s["low"], s["high"]] for s in of_look(part["series"], "mean")]
    told = [list(map(float, values)) for values in (curve.temperatures, curve.mean, curve.low, curve.high)]
    assert drawn == ([told] if len(curve.temperatures) else [])


def check_words(words, row, setup):
    """The words of the figures have the digits of the table."""
    if setup["temperature"] is None:
        assert words == setup["reason"]
        return
    best, interval = re.match(r"T = (\S+) \((.*?)\)", words).groups()
    assert best == temperature_text(setup["temperature"])
    assert interval == " to ".join(map(temperature_text, setup["interval"]))
    assert {best, interval} <= set(row)
    assert ("hardly matters" in words) == bool(setup["flat"])


def check_svg(svg, part, setup):
    """Marks are where the drawn axes say that the numbers are."""
    across, up = scale(svg, "mid", math.log), scale(svg, "end", lambda percent: percent / 100)
    marks = re.search(r'class="best"><line x1="(.*?)" x2="(.*?)" y1="(.*?)".*?d="M(.*?),', svg)
    assert bool(marks) == (setup["temperature"] is not None)
    if marks:
        low, high, y, left = map(float, marks.groups())
        logs = [math.log(t) for t in (*setup["interval"], setup["temperature"])]
        assert [across(low), across(high), across(left + 6)] == pytest.approx(logs, abs=0.01)
        window = part["window"]
        assert up(y) == pytest.approx(
            np.clip(setup["accuracy"], *window), abs=0.005 * (window[1] - window[0]) + 2e-4
        )
    near = [
        (float(x), float(wide))
        for x, wide in re.findall(r'<rect x="(.*?)".*? width="(.*?)" .*?class="near"', svg)
    ]
    ends = [(across(x), across(x + wide)) for x, wide in near if wide > 1]  # a single temperature has a pixel
    assert bool(near) == bool(setup["near_optimal"])
    assert all(pair == pytest.approx(np.log(setup["near_optimal"]), abs=0.01) for pair in ends)
    lines = re.findall(r'<path d="M([^"Z]*)" class="mean"/>', svg)
    for line, series in zip(lines, of_look(part["series"], "mean"), strict=True):
        xs, ys = zip(*(map(float, pair.split(",")) for pair in line.split("L")), strict=True)
        assert [across(x) for x in xs] == pytest.approx(np.log(series["x"]), abs=0.01)
        window = part["window"]
        heights = np.clip(series["y"], *window)
        assert [up(y) for y in ys] == pytest.approx(heights, abs=0.005 * (window[1] - window[0]) + 2e-4)


def check_strip(strip, axis, setup):
    """A row's dot and line are where the temperatures are.

    They are between margins of 3%.
    """
    line = r'<line x1="([\d.]+)%" x2="([\d.]+)%" y1="11" y2="11" class="mean"/><circle cx="([\d.]+)%"'
    marks = [tuple(map(float, places)) for places in re.findall(line, strip)]
    known = [(*setup["interval"], setup["temperature"])] if setup["interval"] else []
    spread = math.log(axis.high / axis.low)
    places = [tuple(3 + 94 * math.log(t / axis.low) / spread for t in temperatures) for temperatures in known]
    assert marks == [pytest.approx(place, abs=0.05) for place in places]


def scale(svg, side, value):
    """Return what reads values off an axis, by its ticks: these say two digits of a percent at most."""
    ticks = re.findall(rf'<text x="([\d.]+)" y="([\d.]+)" class="{side}">([\d.]+)%?</text>', svg)
    places = [
        (float(x if side == "mid" else y) - (0 if side == "mid" else 4), value(float(t))) for x, y, t in ticks
    ]
    (p1, v1), (p2, v2) = places[0], places[-1]
    return lambda place: v1 + (place - p1) / (p2 - p1) * (v2 - v1)


def check_plotly(drawn, index, part, setup):
    axis = f"x{index + 1 if index else ''}"
    own = [trace for trace in drawn.data if trace.xaxis == axis and trace.x and trace.x[0] is not None]
    diamonds = [trace for trace in own if trace.marker.symbol == "diamond"]
    assert len(diamonds) == (0 if setup["temperature"] is None else 1)
    for diamond in diamonds:
        best, error = diamond.x[0], diamond.error_x
        assert (best, diamond.y[0]) == (setup["temperature"], setup["accuracy"])
        assert [best - error.arrayminus[0], best + error.array[0]] == pytest.approx(setup["interval"])
    near = [[s.x0, s.x1] for s in drawn.layout.shapes if s.type == "rect" and s.xref == axis]
    assert near == ([setup["near_optimal"]] if setup["near_optimal"] else [])
    curves = [[*t.y] for t in own if t.mode == "lines" and t.line.width == 2.5]
    assert curves == [s["y"] for s in of_look(part["series"], "mean")]


def check_comparison(document, comparisons):
    assert (document is None) == (not comparisons)
    pairs = [pair for found in comparisons for pair in found.pairs]
    rows = [row["series"] for row in document["parts"] if row["series"]] if document else []
    assert len(rows) == len(pairs)
    for series, pair in zip(rows, pairs, strict=True):
        (point,), (wide,) = of_look(series, "point"), of_look(series, "wide")
        ends = [point["x"][0], point["low"][0], point["high"][0], wide["low"][0], wide["high"][0]]
        assert np.log(ends) == pytest.approx([pair.shift, *pair.interval, *pair.family_interval])

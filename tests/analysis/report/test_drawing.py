"""Figures of pages and reports show what the answers say."""

import math
import re
from dataclasses import replace

from kdsearch.analysis import best, fit_response, response_curves
from kdsearch.analysis.questions.heat import STEPS, heat_map
from kdsearch.analysis.questions.outcomes import TemperatureBand
from kdsearch.analysis.report.drawing import draw
from kdsearch.analysis.report.figures import (
    best_temperatures_figure,
    outcomes_figure,
    progress_figure,
    response_figure,
)
from kdsearch.analysis.report.figures.answers import MOST_POINTS, shown_points
from kdsearch.analysis.report.figures.ticks import round_steps
from kdsearch.analysis.report.panels import Point


def temperature_at(svg: str, x: float) -> float:
    """Return the temperature at a place, read off the drawn axis."""
    ticks = re.findall(r'<text x="([\d.]+)" y="[\d.]+" class="mid">([\d.]+)</text>', svg)
    (x1, t1), (x2, t2) = [(float(place), math.log(float(value))) for place, value in (ticks[0], ticks[-1])]
    return math.exp(t1 + (x - x1) / (x2 - x1) * (t2 - t1))


def test_a_card_marks_the_answer_that_the_table_gives(make_spec, make_trials):
    spec = make_spec()
    trials = make_trials(spec)
    answer = best(spec, trials)
    cards = draw(response_figure(response_curves(fit_response(spec, trials)), trials, answer)).cards
    for card, found in zip(cards, answer.setups, strict=True):
        line = re.search(r'class="best"><line x1="([\d.]+)" x2="([\d.]+)"[^>]*/><path d="M([\d.]+)', card.svg)
        low, high, left = (float(text) for text in line.groups())
        assert math.isclose(temperature_at(card.svg, left + 6), found.temperature, rel_tol=0.02)
        assert math.isclose(temperature_at(card.svg, low), found.interval[0], rel_tol=0.02)
        assert math.isclose(temperature_at(card.svg, high), found.interval[1], rel_tol=0.02)
        assert len(re.findall(r"data-trial=", card.svg)) == 12
        assert f"T = {found.temperature:.1f} (" in card.subtitle


def test_of_very_many_trials_some_are_drawn_and_the_best_are_among_them():
    points = [Point(1 + (7 * n % 1000) / 25, (n * n) % 997 / 997, number=n) for n in range(1000)]
    shown = shown_points(points, 100)
    assert len(shown) == len({point.number for point in shown}) == 100
    assert {p.number for p in sorted(points, key=lambda p: -p.accuracy)[:10]} <= {p.number for p in shown}
    temperatures = [point.temperature for point in shown]
    assert min(temperatures) < 2
    assert max(temperatures) > 40
    assert shown_points(points, 1000) == points
    assert MOST_POINTS < 5000


def test_texts_of_the_study_are_never_markup_in_a_figure(make_spec, make_trials):
    spec = make_spec({"options.note": ["<b>&\"'", "plain"]}, trainer="mine:train")
    trials = [replace(t, state="failed", reason="<script>") for t in make_trials(spec)]
    cards = draw(
        response_figure(response_curves(fit_response(spec, trials)), trials, best(spec, trials))
    ).cards
    svg = "".join(card.svg for card in cards)
    assert "&lt;script&gt;" in svg
    assert "<script" not in svg
    assert "<b>" not in svg


def test_progress_steps_up_to_the_best_trial(make_spec, make_trials):
    spec = make_spec({})
    trials = make_trials(spec)
    top = max(trials, key=lambda trial: trial.val_accuracy)
    (card,) = draw(progress_figure(spec.setups(), trials)).cards
    assert card.subtitle == f"{top.val_accuracy:.1%} since trial {top.number}"
    (nothing,) = draw(progress_figure(spec.setups(), [])).cards
    assert nothing.subtitle == "no complete trial"


def test_strips_say_in_words_what_they_show(make_spec, make_trials):
    spec = make_spec()
    answer = best(spec, make_trials(spec))
    strips = draw(best_temperatures_figure(answer, (1.0, 40.0))).strips
    assert [strip.name for strip in strips] == ["sgd", "adamw"]
    assert all(f"T = {f.temperature:.1f}" in s.text for s, f in zip(strips, answer.setups, strict=True))
    (band,) = draw(outcomes_figure([TemperatureBand(1, 4, 5, 1, 2, 0)])).strips
    assert band.text == "5 complete, 1 pruned, 2 diverged"
    widths = [float(width) for width in re.findall(r'width="([\d.]+)%" y=', band.svg)]
    assert [width / sum(widths) for width in widths] == [0.625, 0.125, 0.25]


def test_a_heat_map_has_a_cell_for_each_pair_of_levels(make_spec, make_trials):
    spec = make_spec({"optimizer.name": ["sgd", "adamw"], "teacher.finetune.epochs": [5, 40]})
    trials = make_trials(spec)
    answer = best(spec, trials)
    found = heat_map(answer)
    assert (found.factors, found.columns) == (("optimizer name", "finetune epochs"), ["5", "40"])
    cells = [cell for _, row in found.rows for cell in row]
    assert [cell.temperature for cell in cells] == [f"{own.temperature:.1f}" for own in answer.setups]
    hottest = max(answer.setups, key=lambda own: own.temperature)
    assert cells[answer.setups.index(hottest)].shade == STEPS - 1
    assert heat_map(best(make_spec(), make_trials(make_spec()))) is None


def test_ticks_are_round_and_few():
    assert round_steps(0, 20) == [0, 5, 10, 15, 20]
    assert [round(step, 3) for step in round_steps(0.902, 0.951)] == [0.91, 0.92, 0.93, 0.94, 0.95]
    assert round_steps(3, 3) == [3]

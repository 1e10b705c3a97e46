"""`bench calibration` and `bench table`: tables stay what was trained, answers are judged by known truths."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from kdsearch.analysis import SetupAnswer
from kdsearch.analysis.questions.forecast import SetupForecast
from kdsearch.bench.__main__ import bench
from kdsearch.bench.calibration.campaign import Case, Result, run_case
from kdsearch.bench.calibration.published import published_losses
from kdsearch.bench.calibration.rivals import grid_at_rate
from kdsearch.bench.calibration.scores import Score, score
from kdsearch.bench.calibration.shapes import FAMILIES, NOISES, ShapeWorld
from kdsearch.bench.calibration.smoothing import smoothed
from kdsearch.bench.calibration.summaries import summaries_of
from kdsearch.bench.calibration.table import LR, Table
from kdsearch.bench.calibration.table_world import TableWorld, shipped, table_of
from kdsearch.bench.calibration.targets import saved_trials, targets_of
from kdsearch.bench.calibration.worlds import Truth
from kdsearch.errors import RequestError
from kdsearch.spec import TEMPERATURE

_TEMPERATURES = np.array([1.0, 2.0, 4.0, 8.0, 16.0])


def _truth(*accuracies: float) -> Truth:
    return Truth(_TEMPERATURES, np.array([accuracies]))


def _answer(**values: object) -> SetupAnswer:
    setup: dict[str, object] = {}
    known = {
        "temperature": 4.0,
        "interval": (2.0, 8.0),
        "interval_loss": 0.001,
        "near_optimal": (2.0, 8.0),
        "flat": False,
        "regret_of": {"4": 0.0},
        "regret_interval_of": {"4": (0.0, 0.001)},
        "trials": 8,
        "forecast": SetupForecast(setup, 8, regret=0.002, decided=True),
        **values,
    }
    return SetupAnswer(setup, **known)  # type: ignore[arg-type]


def test_an_answer_at_the_truth_loses_nothing_and_keeps_its_promise() -> None:
    found = score(_answer(), _truth(90, 91.8, 92, 91.8, 90), default=4.0)
    assert (found.loss, found.kept, found.strict, found.decided) == (0.0, True, 1.0, True)
    assert found.stated == pytest.approx(0.2)
    assert found.width == pytest.approx(0.5)
    assert (found.truly_flat, found.near_right, found.near_found) == (False, 1.0, 1.0)
    assert (found.default_error, found.default_held) == (0.0, True)


def test_a_promise_is_broken_by_more_than_the_stated_loss_alone() -> None:
    truth = _truth(92.0, 91.7, 91.0, 90.0, 90.0)
    within = score(_answer(interval_loss=0.0031), truth, default=4.0)
    beyond = score(_answer(interval_loss=0.0029), truth, default=4.0)
    assert (within.kept, beyond.kept) == (True, False)
    assert within.strict == 0.0
    assert within.loss == pytest.approx(1.0)


def test_what_a_default_loses_may_be_negative() -> None:
    truth = _truth(90, 91, 92, 90, 90)
    found = score(
        _answer(temperature=2.0, regret_of={"4": 0.01}, regret_interval_of={"4": (0.0, 0.02)}), truth, 4.0
    )
    assert found.default_error == pytest.approx(2.0)
    assert found.default_held is False


def test_a_setup_without_an_answer_is_charged_what_the_default_loses() -> None:
    found = score(SetupAnswer({}, reason="too few trials."), _truth(92, 91, 90, 89, 88), default=8.0)
    assert (found.silent, found.loss, found.kept) == (True, 3.0, None)


@pytest.mark.parametrize(
    ("worst", "flat"), [(91.6, True), (91.2, None), (90.9, False)], ids=["flat", "between", "not"]
)
def test_a_curve_is_flat_within_half_a_point_and_not_from_one_on(worst: float, flat: bool | None) -> None:
    assert score(_answer(), _truth(92, 92, 92, 92, worst), default=4.0).truly_flat is flat


def test_the_truth_of_a_table_finds_the_curve_behind_its_noise() -> None:
    temperatures = tuple(np.exp(np.linspace(0, np.log(40), 8)))
    units, rates = np.linspace(0, 1, 8)[:, None, None], np.linspace(0, 1, 5)[None, :, None]
    clean = 90 - 8 * (units - 0.3) ** 2 - 20 * (rates - 0.5) ** 2
    noisy = clean + 0.3 * np.random.default_rng(0).standard_normal((8, 5, 8))
    noisy[:, 4, ::2] = np.nan
    truth = smoothed(noisy, temperatures)
    assert truth.losses.max() == pytest.approx(8 * 0.49, abs=0.5)
    assert truth.loss(40**0.3) < 0.15
    assert 0.0 < truth.error < 0.4


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_loses_points_where_its_truth_says(family: str) -> None:
    world = ShapeWorld(family, "constant", seed=1, n_trials=96)
    worst = [world.truth(setup).losses.max() for setup in world.spec.setups()]
    assert len(worst) == 12
    assert max(worst) < 0.5 if family == "flat" else max(worst) > 1.0


def test_published_curves_go_through_the_means_of_the_published_runs() -> None:
    with (Path(__file__).parents[2] / "studies" / "public_tables.csv").open() as file:
        runs = list(csv.DictReader(file))
    means: dict[str, dict[float, list[float]]] = {}
    for run in runs:
        own = means.setdefault(run["table"], {})
        own.setdefault(float(run["temperature"]), []).append(float(run["accuracy_percent"]))
    tables = [own for own in means.values() if len(own) > 2]
    for losing, own in zip(published_losses().values(), tables, strict=True):
        logs = np.log(sorted(own))
        accuracies = np.array([np.mean(own[temperature]) for temperature in sorted(own)])
        losses = losing((logs - logs[0]) / (logs[-1] - logs[0]))
        assert losses == pytest.approx(accuracies.max() - accuracies, abs=0.01)


def test_noise_of_shapes_is_what_it_is_called() -> None:
    spreads = {}
    for noise in NOISES:
        world = ShapeWorld("plateau", noise, seed=0, n_trials=96)
        setup = world.spec.setups()[0]
        for place in (0.3, 0.8):
            rate = world.dimension(LR, setup).from_unit(place)
            params = {TEMPERATURE: world.temperature_at(setup, 0.5), LR: rate}
            found = [world.outcome(setup, params)[2] or 0.0 for _ in range(400)]
            spreads[noise, place] = np.abs(np.array(found) - np.median(found))
    assert spreads["growing", 0.8].mean() > 2 * spreads["growing", 0.3].mean()
    assert spreads["constant", 0.8].mean() == pytest.approx(spreads["constant", 0.3].mean(), rel=0.2)
    assert spreads["heavy", 0.3].max() / np.median(spreads["heavy", 0.3]) > 8


def test_a_study_of_a_shape_is_searched_judged_and_kept_as_a_line() -> None:
    result = run_case(Case("shapes", "falls at once", "grid", 0, (96,)))
    assert Result.from_line(result.to_line()) == result
    assert len(result.answers[96]) == 12
    (summary,) = summaries_of([result])
    assert summary.loss.value < 1.0
    names = [target.name for target in targets_of([replace(summary, search="profile")])]
    assert any("keep their promise" in name for name in names)
    assert any("T = 4" in name for name in names)


def test_a_search_never_sees_a_student_twice_nor_one_of_the_truth() -> None:
    world = TableWorld("digits", seed=0, n_trials=96)
    setup = world.spec.setups()[0]
    for _ in range(10):
        world.run(setup, [{TEMPERATURE: 4.0, **world.sensible(setup)}] * 8)
    seen = [(row.params[TEMPERATURE], row.params[LR], row.seed) for row in world.rows]
    assert len(set(seen)) == len(seen) == 80
    assert {row.seed for row in world.rows} == {0, 3, 6, 9}


@pytest.mark.parametrize("name", shipped())
def test_tables_that_ship_are_whole_small_and_of_the_study_beside_them(name: str) -> None:
    table = table_of(name)
    shape = (len(table.setups), len(table.axes.temperatures), len(table.axes.rates[0]), table.axes.n_seeds)
    assert table.validation.shape == table.test.shape == shape
    assert np.nanmax(table.curves) <= 1.0
    folder = Path(__file__).parents[2] / "kdsearch" / "bench" / "calibration" / "tables"
    assert (folder / f"{name}.npz").stat().st_size <= 400 * 1024
    assert (folder / f"{name}.yaml").exists()


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    table = table_of("textures")
    table.save(tmp_path / "again.npz")
    again = Table.load(tmp_path / "again.npz")
    np.testing.assert_array_equal(again.curves, table.curves)
    np.testing.assert_array_equal(again.validation, table.validation)
    assert again.axes == table.axes


def test_a_file_of_another_kind_is_no_table(tmp_path: Path) -> None:
    other = tmp_path / "other.npz"
    np.savez(other, a=np.zeros(3))
    with pytest.raises(RequestError, match="must be a file of `bench table`"):
        Table.load(other)


_TINY = """
name: tiny
dataset: {name: digits, train_size: 50, validation_size: 50}
student: {arch: mlp_8}
teacher: {arch: mlp_16, finetune: {epochs: 1}}
training: {epochs: 2, batch_size: 25}
setup: {optimizer.name: [sgd]}
tune:
  objective.temperature: {low: 1, high: 9, log: true}
  optimizer.lr: {low: 0.01, high: 1.0, log: true}
"""


def test_making_a_table_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(_TINY)
    out = tmp_path / "tiny.npz"
    options = ["table", str(tmp_path / "tiny.yaml"), "--temperatures", "3", "--rates", "2", "--seeds", "1"]
    options += ["--artifacts", str(tmp_path / "artifacts"), "--out", str(out)]
    run = CliRunner().invoke(bench, options, catch_exceptions=False)
    assert run.exit_code == 0
    first, lines = Table.load(out), out.with_suffix(".jsonl").read_text()
    out.with_suffix(".jsonl").write_text(lines[: len(lines) * 3 // 4])
    CliRunner().invoke(bench, options, catch_exceptions=False)
    np.testing.assert_array_equal(Table.load(out).curves, first.curves)
    assert first.axes.temperatures == pytest.approx((1, 3, 9))
    assert first.curves.shape == (1, 3, 2, 1, 2)


def test_fewer_trials_are_counted_to_what_the_best_rival_reaches_at_the_end() -> None:
    def result(search: str, *losses: float) -> Result:
        by_trials = zip((96, 192, 288), losses, strict=True)
        answers = {n: (Score(8, False, loss),) for n, loss in by_trials}
        return Result(Case("tables", "t", search, 0, (96, 192, 288)), answers)

    summaries = summaries_of([result("profile", 0.5, 0.2, 0.1), result("grid", 0.6, 0.4, 0.2)])
    assert saved_trials(summaries) == pytest.approx(1 / 3)
    found = [target for target in targets_of(summaries, n_setups=1) if target.name[0] in "ef"]
    assert [target.met for target in found] == [True, True]


def test_a_grid_covers_the_range_at_the_sensible_rate() -> None:
    world = ShapeWorld("plateau", "constant", seed=0, n_trials=96)
    proposal = grid_at_rate(world).propose([], 8)
    assert len({params[TEMPERATURE] for params in proposal.params}) == 8
    assert {params[LR] for params in proposal.params} == {world.sensible(proposal.setup)[LR]}

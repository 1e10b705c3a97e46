"""What earlier studies say about a new one: whose setups are like, what carries over, what it is worth."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from kdsearch.analysis import best, compare, fit_response
from kdsearch.analysis.response.observations import observe
from kdsearch.analysis.response.space import ResponseSpace
from kdsearch.analysis.response.warm_start import (
    EarlierStudy,
    joined,
    load_earlier,
    load_prior,
    load_warm_start,
    observe_earlier,
)
from kdsearch.bench.search.simulation import SimulatedStudy, simulated_study
from kdsearch.errors import RequestError
from kdsearch.search import build_proposer
from kdsearch.spec import TEMPERATURE, StudySpec, load_spec, spec_document
from kdsearch.storage import StudyRecord, TrialRow, add_trials, open_database

pytestmark = pytest.mark.simulated

LR = "optimizer.lr"
MakeSpec = Callable[..., StudySpec]
MakeTrials = Callable[..., list[TrialRow]]


def earlier_study(study: SimulatedStudy, *, misleads: bool, n_trials: int = 48) -> EarlierStudy:
    """Return a study of half the length.

    Its best temperatures are the same or lie far away.
    """
    document = {**spec_document(study.spec), "name": "earlier", "training": {"epochs": 10}}
    document["search"]["seed"] += 1000  # luck of its own
    spec = load_spec(document)
    truths = {
        key: replace(t, top=t.top - 8, best=(t.best + 0.5) % 1.0 if misleads else t.best)
        for key, t in study.truths.items()
    }
    earlier = SimulatedStudy(spec, truths)
    earlier.search(build_proposer(spec), n_trials)
    return EarlierStudy(spec, earlier.rows)


def regret(study: SimulatedStudy, earlier: list[EarlierStudy]) -> float:
    answers = best(study.spec, study.rows, earlier=earlier).setups
    return float(
        np.mean([study.regret(a.setup, a.temperature) for a in answers if a.temperature is not None])
    )


def test_earlier_setups_are_owed_no_answer_and_are_related_by_levels(make_spec: MakeSpec):
    spec = make_spec({"optimizer.name": ["sgd", "adamw"], "training.epochs": [10, 40]})
    earlier = make_spec(name="earlier", optimizer={"name": "adamw"}, setup={"training.epochs": [20, 40]})
    space = ResponseSpace(spec, [earlier])
    assert space.setups == spec.setups()
    adamw_40 = space.site({"optimizer.name": "adamw", "training.epochs": 40})
    same = space.site({"training.epochs": 40}, 1)
    assert adamw_40 is not None
    assert same is not None
    optimizer, epochs, study = space.distances[adamw_40.index, same.index]
    assert (optimizer, epochs, study) == (0, 0, 1)
    sgd_10 = space.site({"optimizer.name": "sgd", "training.epochs": 10})
    assert space.distances[sgd_10.index, same.index].tolist() == [1, 1, 1]  # type: ignore[union-attr]
    between = space.site({"training.epochs": 20}, 1)
    assert space.distances[same.index, between.index].tolist() == [0, 0.5, 0]  # type: ignore[union-attr]


def test_a_temperature_or_learning_rate_means_the_same_in_another_studys_range(make_spec: MakeSpec):
    spec = make_spec()
    narrow = {"low": 2, "high": 10, "log": True}
    earlier = make_spec(name="earlier", tune={TEMPERATURE: narrow}, optimizer={"lr": 0.1})
    space = ResponseSpace(spec, [earlier])
    setup = {"optimizer.name": "sgd"}
    own, other = space.site(setup), space.site(setup, 1)
    assert own is not None
    assert other is not None
    assert space.locate(other, {TEMPERATURE: 6.0}) == space.locate(own, {TEMPERATURE: 6.0, LR: 0.1})


def test_only_the_shape_carries_over(make_spec: MakeSpec, make_trials: MakeTrials):
    spec, earlier = make_spec(), make_spec(name="earlier")
    lower = [replace(row, val_accuracy=row.val_accuracy - 0.5) for row in make_trials(earlier)]
    space = ResponseSpace(spec, [earlier])
    own = observe(spec, space, make_trials(spec))[0]
    together = joined(own, observe_earlier(space, [EarlierStudy(earlier, lower)]))
    n = len(own)
    assert together.points[:n].tolist() == own.points.tolist()
    assert together.points[n:] == pytest.approx(own.points)


def test_an_earlier_study_adds_no_trials_and_answers_for_no_setup(
    make_spec: MakeSpec, make_trials: MakeTrials
):
    spec, earlier = make_spec(), make_spec(name="earlier")
    prior = [EarlierStudy(earlier, make_trials(earlier))]
    few = make_trials(spec)[:12]
    answer = best(spec, few, earlier=prior)
    assert answer.to_dict()["prior_from"] == ["earlier"]
    assert [found.trials for found in answer.setups] == [12, 0]
    assert answer.setups[1].reason is not None
    assert best(spec, [], earlier=prior).setups[0].temperature is None


def test_own_trials_outweigh_what_earlier_ones_say(make_spec: MakeSpec, make_trials: MakeTrials):
    spec, earlier = make_spec({}), make_spec({}, name="earlier")
    prior = [EarlierStudy(earlier, make_trials(earlier, per_setup=60, best=2.0))]
    found = best(spec, make_trials(spec, per_setup=40, best=20.0), earlier=prior).setups[0]
    assert found.interval is not None
    assert found.interval[0] <= 20.0 <= found.interval[1]
    assert found.interval[0] > 5.0


def test_a_helpful_study_helps_and_a_misleading_one_costs_little():
    gained, lost = [], []
    for seed in range(2):
        found = {}
        for kind in ("none", "helpful", "misleading"):
            study = simulated_study("shared", seed, levels=(2, 2, 1), lr_off=0.5)
            earlier = [] if kind == "none" else [earlier_study(study, misleads=kind == "misleading")]
            proposer = build_proposer(study.spec, earlier)
            study.search(proposer, 16)
            early = regret(study, earlier)
            study.search(proposer, 40)
            found[kind] = early, regret(study, earlier)
        gained.append(found["none"][0] - found["helpful"][0])
        lost.append(found["misleading"][1] - found["none"][1])
    assert np.mean(gained) > 0
    assert np.mean(lost) < 0.15


def test_a_first_pack_lies_near_the_earlier_answer_but_spreads(make_spec: MakeSpec, make_trials: MakeTrials):
    spec, earlier = make_spec({}), make_spec({}, name="earlier")
    trials = make_trials(earlier, per_setup=48, best=20.0)
    steep = [
        replace(row, val_accuracy=0.9 - 0.03 * math.log(row.params[TEMPERATURE] / 20) ** 2) for row in trials
    ]
    pack = build_proposer(spec, [EarlierStudy(earlier, steep)]).propose([], 8).params
    temperatures = [params[TEMPERATURE] for params in pack]
    assert sum(t > 8 for t in temperatures) >= 5
    assert max(temperatures) / min(temperatures) > 2
    cold = [params[TEMPERATURE] for params in build_proposer(spec).propose([], 8).params]
    assert sum(t > 8 for t in cold) < 5


def test_a_comparison_uses_the_same_prior(make_spec: MakeSpec, make_trials: MakeTrials):
    spec, earlier = make_spec(), make_spec(name="earlier")
    prior = [EarlierStudy(earlier, make_trials(earlier))]
    rows = make_trials(spec)
    level = compare(fit_response(spec, rows, earlier=prior), "optimizer.name").levels[0]
    answer = best(spec, rows, earlier=prior, by=["optimizer.name"]).setups[0]
    assert (level.temperature, level.interval) == (answer.temperature, answer.interval)


def test_unknown_studies_and_the_study_itself_are_refused(tmp_path, make_spec: MakeSpec):
    database = open_database(f"sqlite:///{tmp_path / 'k.db'}", create=True)
    for name in ("first", "second"):
        StudyRecord.open(database, make_spec(name=name))
    for wrong in ("third", "second"):
        spec = make_spec(name="second", search={"warm_start": ["first", wrong]})
        with pytest.raises(RequestError, match=f"'{wrong}'. Known: first"):
            load_warm_start(database, spec)
    known = make_spec(name="second", search={"warm_start": ["first", "gone"]})
    assert [study.spec.name for study in load_prior(database, known)] == ["first"]
    assert load_prior(database, make_spec()) == []


def test_the_same_trials_count_once(tmp_path, make_spec: MakeSpec, make_trials: MakeTrials):
    database = open_database(f"sqlite:///{tmp_path / 'k.db'}", create=True)
    spec, other = make_spec(name="first"), make_spec(name="other")
    trials = make_trials(spec)
    add_trials(database, spec, trials, "run")
    add_trials(database, make_spec(name="half-copy"), trials[:6], "imported")
    add_trials(database, make_spec(name="copy"), trials, "imported")
    add_trials(database, other, make_trials(other, best=9.0), "run")

    def names(asked: list[str] | None) -> set[str]:
        return {study.spec.name for study in load_earlier(database, asked)}

    assert [study.spec.name for study in load_earlier(database, ["first", "first"])] == ["first"]
    assert len(names(None)) == 2
    assert names(None) & {"first", "copy"}
    assert names(["half-copy", "other"]) == {"half-copy", "other"}


def test_a_sampler_without_a_model_takes_no_warm_start(make_spec: MakeSpec):
    with pytest.raises(RequestError, match="needs the sampler profile, got 'random'"):
        make_spec(search={"sampler": "random", "warm_start": ["first"]})

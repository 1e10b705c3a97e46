"""The pages of trials: sorted, filtered and paged, with the reasons of those that were lost."""

import re
import time

import pytest

from kdsearch.analysis.labels import temperature_text
from kdsearch.spec import TEMPERATURE, load_spec
from kdsearch.storage import StudyRecord, open_database
from kdsearch.storage.rows.browsing import TrialQuery, load_loss_reasons, load_running_packs, load_trial_page
from kdsearch.trial import TrialResult

MEMORY = "CUDA out of memory. Tried to allocate {} GiB"


@pytest.fixture(scope="module")
def lost_url(tmp_path_factory) -> str:
    """A study of 63 trials: 60 complete, 2 without memory, 1 in training."""
    url = f"sqlite:///{tmp_path_factory.mktemp('lost')}/studies.db"
    spec = load_spec({"name": "lost", "tune": {TEMPERATURE: {"low": 1, "high": 40, "log": True}}})
    with open_database(url, create=True) as database:
        record = StudyRecord.open(database, spec)
        trials = record.start({}, [{TEMPERATURE: 1 + number / 2} for number in range(63)], "pack-7")
        for trial in trials[:60]:
            metrics = {"val_accuracy": 0.5 + (37 * trial.number % 60) / 200}
            record.finish(TrialResult(trial.number, "complete", 20, metrics))
        for trial, size in zip(trials[60:62], ("2.31", "17.5"), strict=True):
            record.finish(TrialResult(trial.number, "failed", 2, {}, MEMORY.format(size)))
        record.report(4, {62: {"val_accuracy": 0.4}})
    return url


def numbers(page: str) -> list[int]:
    return [
        int(found) for found in re.findall(r'<td class="best"><a href="/studies/lost/trials/(\d+)">', page)
    ]


def test_trials_come_in_pages_that_lead_to_each_other(lost_url, connect):
    client = connect(lost_url)
    first = client.get("/studies/lost/trials?sort=accuracy&order=down").text
    (later,) = re.findall(r'<a href="([^"]+)" rel="next">', first)
    second = client.get(f"/studies/lost/trials{later.replace('&amp;', '&')}").text
    with open_database(lost_url) as database:
        found = load_trial_page(database, "lost", TrialQuery(order="accuracy", descending=True, limit=1000))
    accuracies = [trial.val_accuracy for trial in found.trials]
    known = [accuracy for accuracy in accuracies if accuracy is not None]
    assert known == sorted(known, reverse=True)
    assert accuracies[len(known) :] == [None, None, None]  # those without one are last, whatever the order
    assert numbers(first) + numbers(second) == [trial.number for trial in found.trials]
    assert 'rel="prev"' in second
    assert 'rel="next"' not in second


def test_reasons_that_differ_in_numbers_are_one_and_lead_to_their_trials(lost_url, connect):
    with open_database(lost_url) as database:
        (reason,) = load_loss_reasons(database, "lost")
    assert (reason.count, reason.first, reason.low, reason.high) == (2, 60, 31.0, 31.5)
    client = connect(lost_url)
    page = client.get("/studies/lost/trials").text
    (address,) = re.findall(r'<a href="(\?state=failed[^"]+)">CUDA out', page)
    assert numbers(client.get(f"/studies/lost/trials{address.replace('&amp;', '&')}").text) == [60, 61]


def test_a_trials_page_tells_it_whole(lost_url, connect):
    client = connect(lost_url)
    page = client.get("/studies/lost/trials/60").text
    assert "Failed at T = 31 after 2 epochs." in page
    assert MEMORY.format("2.31") in page
    assert "kdsearch reproduce lost 60" in page
    assert '<svg class="chart"' in client.get("/studies/lost/trials/62").text
    assert client.get("/studies/lost/trials/63").status_code == 404


def test_the_packs_in_training_are_told_with_their_epoch(lost_url, connect):
    with open_database(lost_url) as database:
        (pack,) = load_running_packs(database, "lost")
    assert (pack.pack, pack.trials, pack.epochs) == ("pack-7", 1, 4)
    assert re.search(
        r"In training now: all trials \(1 trial,\s+epoch 4\s+of 20\)",
        connect(lost_url).get("/studies/lost").text,
    )


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("sort=params", "`sort` must be one of number, state"),
        ("state=lost", "`state` must be one of complete"),
        ("page=0", "`page` must be a whole number from 1"),
        ("page=²", "`page` must be a whole number from 1"),
        ("stat=failed", "`stat` is not a parameter"),
        ("setup=-1", "`setup` must be a whole number from 0"),
        ("setup=1&setup=0", "`setup` must be given once"),
    ],
)
def test_a_wrong_wish_is_named(lost_url, connect, query, said):
    answer = connect(lost_url).get(f"/studies/lost/trials?{query}")
    assert answer.status_code == 422
    assert said in answer.text


def test_a_reason_is_looked_for_as_it_is_written(lost_url, connect):
    assert numbers(connect(lost_url).get("/studies/lost/trials?reason=%25").text) == []
    assert numbers(connect(lost_url).get("/studies/lost/trials?reason=out+of").text) == [60, 61]


def test_what_if_takes_one_level_of_a_factor(client):
    answer = client.get("/studies/demo/what-if?optimizer.name=adam&optimizer.name=sgd")
    assert answer.status_code == 422
    assert "must name optimizer.name once" in answer.text


def test_what_if_refuses_what_cant_be_trained(client):
    while "being computed" in (answer := client.get("/studies/demo/what-if?optimizer.name=lamb")).text:
        time.sleep(0.1)
    assert "`optimizer.name` must be a known optimizer" in answer.text
    assert answer.status_code == 422


def test_what_if_answers_for_a_setup_and_names_what_is_no_factor(client):
    for _ in range(100):
        page = client.get("/studies/demo/what-if?optimizer.name=adam").text
        if "being computed" not in page:
            break
    assert re.search(r"T = [\d.]+ \(90% interval [\d.]+ to [\d.]+\), from no trial of its own", page)
    assert "optimizer.name=adam was never run" in page
    asked = {"set": "optimizer.name=adam", "study": "demo"}
    found = client.get("/kdsearch/v1/recommend", params=asked).json()
    curve, lost = found["curve"], found["regret_of"]
    assert len(curve["temperatures"]) == len(curve["lost"]) == len(curve["low"]) == len(curve["high"])
    assert curve["lost"][0] == pytest.approx(lost["1"])
    assert curve["lost"][curve["temperatures"].index(found["temperature"])] == 0
    card = re.search(r'<svg class="chart".*?</svg>', page, re.DOTALL).group()
    assert f"T = {temperature_text(found['temperature'])} (" in card
    assert 'class="band"' in card
    for source in found["sources"]:
        assert f"{source['likeness']:.0%} in common, {source['trials']} trials" in page
    answer = client.get("/studies/demo/what-if?optimizer.lr=1")
    assert answer.status_code == 422
    assert "`optimizer.lr` is no factor of this study. Factors: optimizer.name." in answer.text.replace(
        "&#39;", "'"
    )

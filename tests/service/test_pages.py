import re
import time
from html import unescape

import pytest

from kdsearch.storage import load_study, open_database

SCRIPT = re.compile(r"<script([^>]*)>(.*?)</script>", re.DOTALL)


def answered(client, address):
    """Return a page once its answers are computed: it is there before them."""
    for _ in range(600):
        page = client.get(address)
        if "being computed" not in page.text:
            return page
        time.sleep(0.2)
    raise AssertionError(f"{address} is not answered")


def test_the_first_page_lists_studies_with_progress_and_answers(client):
    page = answered(client, "/")
    assert page.status_code == 200
    assert '<a href="/studies/demo">demo</a>' in page.text
    assert "16 of 16" in page.text
    assert "2 diverged" in page.text  # as the list of `kdsearch studies` has them
    assert "failed" not in page.text
    assert "all trials are done; 1 of 2 setups were stopped early" in page.text
    assert re.search(r"sgd: [3-9]\.\d \(\d", page.text)


def test_a_studys_page_has_its_answers_and_figures(client):
    page = answered(client, "/studies/demo").text
    assert "Best temperature per setup" in page
    assert "Every student was given 20 epochs" in page
    assert "The study is finished: all trials are done; 1 of 2 setups were stopped early." in page
    assert "decided 0 of 2" in page
    assert "<b>adamw</b>: Stopped early: expected to lose little." in page
    assert "What is decided, and what the rest needs" in page
    assert "1. sgd wants a higher temperature than adamw" in page
    assert "not resolved" in page
    assert page.count('<svg class="chart"') == 6
    assert client.get("/studies/demo/dashboard").headers["location"] == "/dashboard/studies/1"


def test_answers_may_be_averaged_over_factors(client):
    page = answered(client, "/studies/demo?by=optimizer.name").text
    assert "Best temperature by optimizer.name, averaged over the other factors" in page


def test_pages_run_no_inline_script_and_load_only_from_here(client):
    answer = answered(client, "/studies/demo")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy
    (script,) = SCRIPT.findall(answer.text)
    assert 'src="/kdsearch/static/live.js' in script[0]
    assert "style=" not in answer.text
    for address in map(unescape, re.findall(r'(?:src|href)="([^"]+)"', answer.text)):
        assert address.startswith("/") or address == "data:,"
        is_elsewhere = address.startswith("/dashboard") or address.endswith("/dashboard")
        assert is_elsewhere or address.startswith("data:") or client.get(address).status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/studies/other", "/studies/demo/trials/99999999999999999999", "/kdsearch/static/secret", "/nothing"],
)
def test_what_is_not_there_is_not_found(client, path):
    assert client.get(path).status_code == 404


def test_a_wrong_question_is_explained_on_a_page(client):
    answer = client.get("/studies/demo?level=5")
    assert answer.status_code == 422
    assert answer.headers["content-type"].startswith("text/html")
    assert "`level` must be a number" in answer.text


def test_messages_are_escaped(client):
    answer = client.get("/studies/<script>alert(1)<%2Fscript>")
    assert answer.status_code == 404
    assert "<script>alert" not in answer.text


def test_a_database_may_appear_grow_and_be_replaced(tmp_path, store, connect):
    path = tmp_path / "later.db"
    url = f"sqlite:///{path}"
    with connect(url) as client:
        assert "There is no database" in client.get("/").text
        assert client.get("/kdsearch/v1/studies").status_code == 503
        assert client.get("/api/studies").status_code == 503
        assert not path.exists()

        store(url, "demo", per_setup=2)
        first = client.get("/kdsearch/v1/studies/demo/best").json()
        assert first["setups"][0]["reason"]
        assert len(client.get("/api/studies").json()["study_summaries"]) == 1
        store(url, "demo")
        second = client.get("/kdsearch/v1/studies/demo/best").json()
        assert second["setups"][0]["temperature"]

        for file in tmp_path.glob("later.db*"):
            file.unlink()
        store(url, "another")
        assert [s["study"] for s in client.get("/kdsearch/v1/studies").json()] == ["another"]
        names = [s["study_name"] for s in client.get("/api/studies").json()["study_summaries"]]
        assert names == ["another"]


def test_an_answer_is_computed_again_only_when_trials_changed(tmp_path, store, connect, answers):
    url = f"sqlite:///{tmp_path}/kept.db"
    store(url)
    client, before = connect(url), answers.n_computed
    for _ in range(3):
        client.get("/kdsearch/v1/studies/demo/best")
    client.get("/kdsearch/v1/studies/demo/best?level=0.8")
    assert answers.n_computed == before + 2


def test_a_study_without_a_finished_trial_says_so(tmp_path, store, connect):
    url = f"sqlite:///{tmp_path}/new.db"
    store(url, per_setup=0)
    with connect(url) as client:
        assert "sgd: not known yet" in answered(client, "/").text
        page = answered(client, "/studies/demo")
    assert page.status_code == 200
    assert "0 of 16 trials finished (none yet)" in page.text
    assert "too few trials" in page.text


def test_an_older_answer_is_shown_at_once_and_renewed(tmp_path, store, connect):
    url = f"sqlite:///{tmp_path}/aging.db"
    store(url, per_setup=6)
    client = connect(url)
    before = answered(client, "/studies/demo").text
    assert "Up to date." in before
    store(url, per_setup=8)  # opened again and gone on with
    with open_database(url) as database:
        n_now = load_study(database, "demo").progress.complete
    assert n_now > 10
    seen = client.get("/studies/demo").text
    assert f"{n_now} complete" in seen or "being renewed" in seen
    for _ in range(600):
        if f"{n_now} complete" in (seen := client.get("/studies/demo").text):
            break
        time.sleep(0.2)
    assert f"{n_now} complete" in seen

from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from kdsearch.analysis import best, compare, fit_response, importance, response_curves
from kdsearch.analysis.questions.best import best_of
from kdsearch.analysis.report.contents import Findings, learning_sample, load_findings
from kdsearch.analysis.report.file import report_html, write_report
from kdsearch.analysis.report.study_words import shown_document, training_sentence
from kdsearch.errors import RequestError
from kdsearch.spec import TEMPERATURE
from kdsearch.storage import Progress, StudyRecord, StudySummary, open_database
from kdsearch.trial import TrialResult

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
LOADING = {"src", "srcset", "poster", "data", "action", "background"}


class Page(HTMLParser):
    """The parts of a page that matter here."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.figures: list[str] = []
        self.headings: list[str] = []
        self.loads: list[tuple[str, str]] = []
        self.policy = ""
        self.text = ""
        self._open: list[tuple[str, dict]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.loads += [(tag, value) for name, value in attrs if name in LOADING]
        self.loads += [(tag, given["href"])] if tag == "link" else []
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"]
        if tag == "svg" and given.get("class") == "chart":
            self.figures.append(given["aria-label"])
        if tag not in ("meta", "br", "link"):
            self._open.append((tag, given))

    def handle_startendtag(self, tag, attrs):
        self.loads += [(tag, value) for name, value in attrs if name in LOADING]

    def handle_endtag(self, tag):
        self._open.pop()

    def handle_data(self, data):
        tag, _ = self._open[-1] if self._open else ("", {})
        if tag == "script":
            self.scripts.append(data)
        elif tag in ("h1", "h2"):
            self.headings.append(data)
        elif tag != "style":
            self.text += data


def summary_of(spec, reason="all 24 trials are done"):
    return StudySummary(spec.name, "finished", 2, Progress(24, complete=24), NOW, NOW, None, reason=reason)


@pytest.fixture(scope="module")
def findings(make_spec, make_trials) -> Findings:
    spec = make_spec()
    trials = make_trials(spec)
    response = fit_response(spec, trials)
    return Findings(
        spec=spec,
        trials=trials,
        answer=best_of(response, trials),
        curves=response_curves(response),
        comparisons=[compare(response, "optimizer.name")],
        learning={0: [(1, 0.5), (2, 0.8)]},
        teachers=[],
        runs=[{"versions": {"python": "3.11.2", "torch": "2.9"}, "git_commit": "abc" * 10}],
        study=summary_of(spec),
        importance=importance(response),
    )


@pytest.fixture
def database(tmp_path, make_spec, make_trials):
    spec = make_spec({})
    with open_database(f"sqlite:///{tmp_path}/studies.db", create=True) as database:
        record = StudyRecord.open(database, spec)
        params = [trial.params for trial in make_trials(spec, per_setup=6)]
        for trial in record.start({}, params, "pack-0"):
            record.report(1, {trial.number: {"val_accuracy": 0.5}})
            accuracy = 0.9 - abs(trial.params[TEMPERATURE] - 6) / 400
            record.finish(TrialResult(trial.number, "complete", 20, {"val_accuracy": accuracy}))
        yield database


def test_a_report_needs_nothing_from_elsewhere(findings):
    page = Page(report_html(findings, written=NOW))
    assert page.loads == []
    assert page.scripts == []
    assert page.policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def test_a_report_answers_first_and_shows_the_response_before_other_figures(findings):
    page = Page(report_html(findings, written=NOW))
    assert page.headings[:5] == [
        "demo",
        "Best temperature per setup",
        "Accuracy over temperature",
        "What is decided, and what the rest needs",
        "Does the best temperature depend on the factors?",
    ]
    assert [label.split(":")[0] for label in page.figures] == 3 * ["sgd", "adamw"]
    assert "What accuracy depends on" in page.headings


def test_a_report_says_what_was_done(findings):
    text = " ".join(Page(report_html(findings, written=NOW)).text.split())
    for said in (
        "Every student was given 20 epochs; only trials that ran all of them compete.",
        "convnet_8_16 learns from convnet_32_64_128 on digits; objective kd.",
        "24 of 96 trials finished (24 complete).",
        "The study is finished: all 24 trials are done.",
        "temperature 1 to 40 (log); optimizer lr 0.01 to 1 (log)",
        "The interval holds, with 90% probability, a temperature that loses at most",
        "Ran with python 3.11.2, torch 2.9; git commit abcabcabcabc.",
        "Written 2026-01-02 03:04 UTC",
        "objective.temperature",
    ):
        assert said in text


@pytest.mark.parametrize(
    ("trainer", "said"),
    [
        ("mine:train", "Students are trained by mine:train; setups of width 8 or 16; options depth 3."),
        (
            {"command": "python t.py -T {objective.temperature} --width {options.width}"},
            "Students are trained by the command python t.py -T {objective.temperature} --width {options.width}; ",
        ),
        ("kdsearch.runs:none", "The runs were imported; setups of width 8 or 16; options depth 3."),
    ],
)
def test_an_own_trainer_is_described_by_what_it_is_given(make_spec, make_trials, findings, trainer, said):
    spec = make_spec(
        {"options.width": [8, 16]},
        trainer=trainer,
        options={"depth": 3, "width": 8},
        tune={TEMPERATURE: {"low": 1, "high": 40, "log": True}},
    )
    trials = make_trials(spec)
    told = replace(findings, spec=spec, trials=trials, answer=best(spec, trials), study=summary_of(spec))
    text = " ".join(Page(report_html(told, written=NOW)).text.split())
    assert said in text
    assert "options: depth: 3 width: 8" in text
    for foreign in ("convnet", "digits", "teacher:", "student:"):
        assert foreign not in text


def test_an_option_that_has_a_value_only_as_a_factor_is_described_by_its_levels(make_spec):
    spec = make_spec(trainer="mine:train", setup={"options.depth": [3, 8]})
    assert training_sentence(spec) == "Students are trained by mine:train; setups of depth 3 or 8."


def test_what_the_study_file_says_of_a_section_is_shown_of_an_own_trainer_too(make_spec):
    spec = make_spec(trainer="mine:train", dataset={"name": "CIFAR10"}, teacher={"arch": "resnet18"})
    shown = shown_document(spec)
    assert (shown["dataset"]["name"], shown["teacher"]["arch"]) == ("CIFAR10", "resnet18")
    assert "student" not in shown
    assert shown["optimizer"], "it is a factor"


def test_texts_from_the_study_are_never_markup(make_spec, make_trials):
    attack = "</script><script>alert(1)</script>"
    spec = make_spec({"options.note": [attack, "plain"]}, trainer="mine:train")
    trials = make_trials(spec)
    curves = response_curves(fit_response(spec, trials))
    rest = [], {}, [], [], summary_of(spec, attack), importance(fit_response(spec, trials))
    findings = Findings(spec, trials, best(spec, trials), curves, *rest)
    page = Page(report_html(findings, written=NOW))
    assert page.scripts == []
    assert attack in page.text


def test_the_file_is_whole_or_not_there(database, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    assert write_report(database, "demo", path) == path
    before = path.read_text()

    def full_disk(self, *arguments, **options):
        Path(self).touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(RequestError, match="No space left"):
        write_report(database, "demo", path)
    assert path.read_text() == before
    assert sorted(p.name for p in tmp_path.glob("*report*")) == ["report.html"]


def test_a_missing_folder_and_an_unknown_study_are_named(database, tmp_path):
    with pytest.raises(RequestError, match=r"can't be written to .*: No such file"):
        write_report(database, "demo", tmp_path / "missing" / "report.html")
    with pytest.raises(RequestError, match="demo"):
        write_report(database, "other", tmp_path / "report.html")


def test_findings_come_from_the_database(database):
    findings = load_findings(database, "demo")
    assert [len(findings.trials), len(findings.curves), len(findings.learning)] == [6, 1, 6]
    assert findings.learning[0][0] == (1, 0.5)
    assert findings.runs[-1]["versions"]["python"]
    assert findings.comparisons == []


def test_a_sample_of_learning_curves_reaches_from_the_lowest_to_the_highest_temperature(
    make_spec, make_trials
):
    spec = make_spec({})
    trials = make_trials(spec, per_setup=100)
    sample = learning_sample(spec.setups(), trials)
    assert len(sample) == len(set(sample)) == 40
    assert {0, 99} <= set(sample)

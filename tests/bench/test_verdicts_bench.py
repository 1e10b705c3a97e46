"""`bench verdicts`: its worlds are what they say, and a wrong verdict is counted as one."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from kdsearch.bench.__main__ import bench
from kdsearch.bench.verdicts.campaign import Case, Judged, JudgedStudy
from kdsearch.bench.verdicts.command import table, targets_of
from kdsearch.bench.verdicts.worlds import ClaimWorld, claims


def judged(truly: str, verdict: str, quantity: str = "accuracy") -> Judged:
    return Judged(Case("cusp", 0, 128), quantity, truly, verdict, 0.5, 0.5, ())


def test_27_seeds_have_each_claim_true_opposite_and_flat() -> None:
    worlds = [ClaimWorld("symmetric", seed, 64) for seed in range(27)]
    for claim in claims():
        found = [world.truly(claim) for world in worlds]
        signs = {"true", "flat"} | ({"opposite"} if claim.has_sign else set())
        assert set(found) == signs, claim.quantity
    first = worlds[0].effect(claims()[4]), ClaimWorld("symmetric", 0, 64).effect(claims()[4])
    assert first[0] == first[1] > 0.003


@pytest.mark.parametrize(
    ("truly", "verdict", "wrong"),
    [
        ("true", "confirmed", False),
        ("true", "reversed", True),
        ("true", "no effect that matters", True),
        ("opposite", "reversed", False),
        ("opposite", "confirmed", True),
        ("flat", "no effect that matters", False),
        ("flat", "confirmed", True),
        ("flat", "not resolved", False),
    ],
)
def test_a_verdict_is_wrong_where_it_resolves_otherwise_than_is_true(
    truly: str, verdict: str, wrong: bool
) -> None:
    assert judged(truly, verdict).wrong is wrong


def test_the_rate_of_wrong_verdicts_is_held_against_the_stated_one() -> None:
    own = (
        [judged("true", "confirmed")] * 18
        + [judged("flat", "confirmed")]
        + [judged("flat", "not resolved")] * 20
    )
    claimed, told = (target for target in targets_of(own) if target.where == "accuracy")
    assert (claimed.met, told.met) == (True, False)  # 1 of 39 claims, 1 of 19 verdicts
    true, flat = (line.split() for line in table(own)[1:])
    assert (true[:4], true[-2]) == (["accuracy", "true", "18", "100%"], "0%")
    assert (flat[:4], flat[-2]) == (["accuracy", "flat", "21", "5%"], "5%")


def test_results_go_on_where_they_were(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    own = (judged("true", "confirmed"), judged("flat", "not resolved", "spread"))
    line = JudgedStudy(own[0].case, own).to_line()
    assert JudgedStudy.from_line(line).claims == own
    path.write_text(f"{line}\n{line[:20]}")
    words = ["verdicts", "--kind", "cusp", "--studies", "1", "--trials", "128", "--out", str(path)]
    answered = CliRunner().invoke(bench, words)
    assert answered.exit_code == 0, answered.output
    assert path.read_text() == f"{line}\n"  # nothing was run again
    path.write_text("{}\n")
    assert CliRunner().invoke(bench, words).exit_code == 2

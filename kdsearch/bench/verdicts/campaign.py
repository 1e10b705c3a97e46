"""Simulated studies judged, each a line of a file, so that an interrupted run goes on."""

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

from kdsearch.analysis.questions.verdicts import verdict_on
from kdsearch.analysis.response.fitted import fit_response
from kdsearch.bench.search.baselines import proposer_of, silence_optuna
from kdsearch.bench.verdicts.worlds import ClaimWorld, claims
from kdsearch.errors import RequestError


@dataclass(frozen=True)
class Case:
    """One study: a family of curves, a seed and a budget."""

    family: str
    seed: int
    trials: int


@dataclass(frozen=True)
class Judged:
    """One claim of a study: what is true of it, what was said, and with which power."""

    case: Case
    quantity: str
    truly: str
    verdict: str
    probability: float
    power: float
    reasons: tuple[str, ...]

    @property
    def wrong(self) -> bool:
        """Whether a claim was resolved otherwise than is true."""
        right = {"true": "confirmed", "opposite": "reversed", "flat": "no effect that matters"}
        return self.verdict not in ("not resolved", right[self.truly])


def run_case(case: Case) -> list[Judged]:
    """Search one study and judge its claims."""
    world = ClaimWorld(case.family, case.seed, case.trials)
    rows = world.search(proposer_of("profile", world.spec), case.trials)
    response = fit_response(world.spec, rows)
    found = [(claim, verdict_on(response, claim)) for claim in claims()]
    return [
        Judged(
            case,
            claim.quantity,
            world.truly(claim),
            told.verdict,
            told.probability or 0.0,
            told.power or 0.0,
            told.reasons,
        )
        for claim, told in found
    ]


def run_cases(cases: Sequence[Case], jobs: int) -> Iterator[list[Judged]]:
    """Yield the judged claims of studies as they come, of `jobs` processes at a time."""
    if jobs == 1:
        silence_optuna()
        yield from map(run_case, cases)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_prepare) as pool:
        for future in as_completed([pool.submit(run_case, case) for case in cases]):
            yield future.result()


def _prepare() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    silence_optuna()


def to_line(judged: Sequence[Judged]) -> str:
    """Return the judged claims of one study as a line of JSON."""
    return json.dumps([asdict(one) for one in judged])


def from_line(line: str) -> list[Judged]:
    """Return what `to_line` wrote.

    Raises:
        ValueError: The line is of another kind.
    """
    document = json.loads(line)
    try:
        if not isinstance(document, list):
            raise TypeError
        return [
            Judged(**{**one, "case": Case(**one["case"]), "reasons": tuple(one["reasons"])})
            for one in document
        ]
    except (KeyError, TypeError) as error:
        raise ValueError(f"no result of this benchmark: {line[:80]}") from error


def read_results(path: Path | None) -> list[Judged]:
    """Return the judged claims of a file; a last line that is not whole is cut off.

    Raises:
        RequestError: The file is of another kind.
    """
    if path is None or not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, encoding="utf-8")
    try:
        return [one for line in whole.splitlines() for one in from_line(line)]
    except ValueError as error:
        raise RequestError(f"`--out` must be a file of this benchmark, got {path}: {error}.") from error

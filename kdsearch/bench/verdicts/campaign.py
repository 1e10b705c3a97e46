"""One simulated study with its claims judged, as a file's line."""

import json
from dataclasses import asdict, dataclass

from kdsearch.analysis.questions.verdicts import verdict_on
from kdsearch.analysis.response.fitted import fit_response
from kdsearch.bench.search.baselines import proposer_of
from kdsearch.bench.verdicts.worlds import ClaimWorld, claims


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


@dataclass(frozen=True)
class JudgedStudy:
    """A study's claims, judged."""

    case: Case
    claims: tuple[Judged, ...]

    def to_line(self) -> str:
        """Return the judged claims as a line of JSON."""
        return json.dumps([asdict(one) for one in self.claims])

    @classmethod
    def from_line(cls, line: str) -> "JudgedStudy":
        """Return what `to_line` wrote.

        Raises:
            ValueError: The line is of another kind.
        """
        document = json.loads(line)
        try:
            found = [
                Judged(**{**one, "case": Case(**one["case"]), "reasons": tuple(one["reasons"])})
                for one in document
            ]
            return cls(found[0].case, tuple(found))
        except (IndexError, KeyError, TypeError) as error:
            raise ValueError(f"no result of this benchmark: {line[:80]}") from error


def run_case(case: Case) -> JudgedStudy:
    """Search one study and judge its claims."""
    world = ClaimWorld(case.family, case.seed, case.trials)
    rows = world.search(proposer_of("profile", world.spec), case.trials)
    response = fit_response(world.spec, rows)
    found = [(claim, verdict_on(response, claim)) for claim in claims()]
    return JudgedStudy(
        case,
        tuple(
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
        ),
    )

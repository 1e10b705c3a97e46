"""The answer in words says no more than is known.

It says what is decided and what T = 4 costs.
"""

from kdsearch.analysis import BestAnswer, SetupAnswer
from kdsearch.analysis.questions.forecast import SetupForecast
from kdsearch.analysis.report.headline import headline

Lost = tuple[float, tuple[float, float]]


def found(
    name: str, temperature: float | None, *, decided: bool = False, at_4: Lost | None = None
) -> SetupAnswer:
    setup = {"optimizer.name": name}
    if temperature is None:
        return SetupAnswer(setup, reason="too few trials.")
    lost = {} if at_4 is None else {"regret_of": {"4": at_4[0]}, "regret_interval_of": {"4": at_4[1]}}
    forecast = SetupForecast(setup, 20, 0.001, decided=decided)
    return SetupAnswer(setup, temperature, (1.0, 20.0), forecast=forecast, **lost)


def words(*setups: SetupAnswer) -> str:
    return headline(BestAnswer("demo", 0.9, 0.005, list(setups)))


def test_one_setup_that_is_not_decided() -> None:
    assert words(found("sgd", 6.3, at_4=(0.003, (-0.001, 0.006)))) == (
        "The recommended temperature is 6.3. It is not decided. The usual T = 4 is not known to lose anything."
    )


def test_a_loss_is_told_where_its_interval_excludes_none() -> None:
    setups = [
        found("sgd", 1.0, decided=True, at_4=(0.025, (0.01, 0.04))),
        found("adamw", 12.0, at_4=(0.004, (-0.002, 0.01))),
    ]
    assert words(*setups) == (
        "The recommended temperatures go from 1.0 to 12 over 2 setups. Of 2 answers 1 is decided. "
        "The usual T = 4 is expected to lose 2.5 points in sgd; elsewhere it is not known to lose anything."
    )


def test_many_setups_are_counted_and_unanswered_ones_named_as_such() -> None:
    lost = (0.01, (0.005, 0.02))
    setups = [found(f"o{k}", 2.0 + k, decided=True, at_4=lost) for k in range(5)]
    assert words(*setups) == (
        "The recommended temperatures go from 2.0 to 6.0 over 5 setups. All answers are decided. "
        "The usual T = 4 is expected to lose 1.0 points in 5 of 5 setups."
    )
    assert words(*setups, found("late", None)).startswith(
        "The recommended temperatures go from 2.0 to 6.0, as far as 5 of 6 setups can be answered. Of 6 answers 5 are"
    )


def test_without_answers_or_without_t_4_nothing_is_claimed() -> None:
    assert words(found("sgd", None)) == "No setup has enough trials for an answer yet."
    assert words(found("sgd", 8.0)) == "The recommended temperature is 8.0. It is not decided."

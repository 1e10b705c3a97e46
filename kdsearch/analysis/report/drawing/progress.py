"""The best accuracy seen so far: a card for each setup, over the numbers of its trials."""

from collections.abc import Sequence

from kdsearch.analysis.labels import setup_names
from kdsearch.analysis.questions.outcomes import belongs_to
from kdsearch.analysis.report.colors import setup_colors
from kdsearch.analysis.report.drawing.figure import Card, Drawing
from kdsearch.analysis.report.drawing.frame import Frame, frame_of, round_steps, shape_of
from kdsearch.analysis.report.drawing.svg import group, line_path, tag
from kdsearch.spec import Setup
from kdsearch.storage import TrialRow


def draw_progress(setups: Sequence[Setup], trials: Sequence[TrialRow]) -> Drawing:
    """Draw the best validation accuracy seen so far in each setup."""
    series = [best_so_far([t for t in trials if belongs_to(t, setup)]) for setup in setups]
    seen = [accuracy for _, best in series for accuracy in best] or [0.0, 1.0]
    margin = 0.05 * max(max(seen) - min(seen), 0.02)
    last = max((trial.number for trial in trials), default=1)
    window = max(min(seen) - margin, 0.0), max(seen) + margin
    frame = frame_of(len(setups), (0, max(last, 1)), window, low=True)
    named = zip(setup_names(setups), setup_colors(setups), series, strict=True)
    cards = [_card(frame, name, color, *steps) for name, color, steps in named]
    return Drawing(cards, columns=shape_of(len(setups))[0])


def best_so_far(trials: Sequence[TrialRow]) -> tuple[list[int], list[float]]:
    """Return the numbers of the trials that were the best so far, and their accuracies."""
    numbers: list[int] = []
    best: list[float] = []
    for trial in sorted(trials, key=lambda t: t.number):
        accuracy = trial.val_accuracy
        if trial.state == "complete" and accuracy is not None and (not best or accuracy > best[-1]):
            numbers.append(trial.number)
            best.append(accuracy)
    return numbers, best


def _card(frame: Frame, name: str, color: str, numbers: list[int], best: list[float]) -> Card:
    told = f"{best[-1]:.1%} since trial {numbers[-1]}" if best else "no complete trial"
    label = f"{name}: the best accuracy seen so far, {told}"
    marks = []
    if best:
        ends = [*numbers[1:], int(frame.x.high)]
        xs = [x for start, end in zip(numbers, ends, strict=True) for x in (start, end)]
        steps = frame.places(xs, [y for y in best for _ in range(2)])
        marks = [group([tag("path", d=line_path(*steps), class_="mean")], color=color, class_="own")]
    ticks = [(step, f"{step:g}") for step in round_steps(0, frame.x.high, 4) if step == int(step)]
    return Card(name, told, frame.svg(marks, x_ticks=ticks, x_name="trial", label=label), label)

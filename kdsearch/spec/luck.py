"""Which luck a study draws anew, and what its doubt includes."""

from collections.abc import Sequence

from kdsearch.spec.sections import Luck

SEED_PATHS: dict[Luck, str] = {
    "views": "training.view_seed",
    "order": "training.order_seed",
    "split": "dataset.split_seed",
}
"""The leaf of the spec by which a draw fixes each luck."""

_INCLUDED = {
    "initialisation": "the initialisation",
    "seed": "what the trainer takes from a trial's seed",
    "views": "the views",
    "order": "the batch order",
    "split": "the split",
    "images": "the validation images",
}
_HELD = {"split": "on this split", "views": "with these views", "order": "in this batch order"}


def luck_text(luck: Sequence[str]) -> str:
    """Return a sentence about which luck the answers' doubt includes.

    It also says where the answers hold.

    Args:
        luck: What `StudySpec.luck` returned, and `images` where that of the validation images is known.
    """
    if luck[0] == "seed" and not set(luck) & _HELD.keys():  # the trainer alone knows what the seed fixes
        return f"The doubt includes the luck of {_listed([_INCLUDED[name] for name in luck])} alone."
    held = [words for name, words in _HELD.items() if name not in luck]
    alone = " alone" if len(luck) == 1 else ""
    included = f"doubt includes the luck of {_listed([_INCLUDED[name] for name in luck])}{alone}."
    return f"Answers hold {_listed(held)}; their {included}" if held else f"The {included}"


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)

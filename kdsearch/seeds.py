"""The seeds that follow from those of a study's file.

What is drawn from a seed is drawn where it is used: `distill/randomness.py` makes the engine's streams,
each by the names of what it is for, and `search` draws by its own seed and the number of trials so far.
"""

SEEDS_APART = 1_000_000
"""How far the seeds of two searches are apart where `search.seed` differs by 1: more than trials."""


def trial_seed(search_seed: int, number: int) -> int:
    """Return the seed of a trial: its student's initialisation and dropout grow from it.

    Args:
        search_seed: The spec's `search.seed`.
        number: The trial's number in its study, from 0.
    """
    return search_seed * SEEDS_APART + number


def drawn_seed(first: int, search_seed: int, draw: int) -> int:
    """Return the seed of one luck in a draw, which no other draw or search shares.

    Args:
        first: The seed that the spec names, which draw 0 of search 0 has.
        search_seed: The spec's `search.seed`.
        draw: The number of the draw in its setup, from 0.
    """
    return first + search_seed * SEEDS_APART + draw


def split_seed(first: int, n_splits: int, draw: int) -> int:
    """Return the seed of a draw's split: the splits take turns, since each has teachers of its own.

    Args:
        first: The seed that the spec names.
        n_splits: How many splits there are.
        draw: The number of the draw in its setup, from 0.
    """
    return first + draw % n_splits

"""Every seed, derived from those of a study's file.

A value here is for ever: another one would train other students where a study goes on or is run again.
`distill/randomness.py` makes the engine's streams from `named_seed`, each by the names of what it is for.
"""

import hashlib

SEEDS_APART = 1_000_000
"""How far the seeds of two searches are apart where `search.seed` differs by 1: more than trials."""

N_SHARED_STARTS = 4
"""By hand: enough starts for replicates to differ, few enough to be trained beside a search."""

_STREAM_BYTES = 7
"""A seed of 56 bits: PyTorch takes any below 2**63."""

_NUMPY_BYTES = 8
"""A seed of 64 bits, for NumPy's generators, which take any."""

_SAMPLER_BYTES = 4
"""A seed of 32 bits: the generators of Optuna's samplers take no larger one."""


def trial_seed(search_seed: int, number: int) -> int:
    """Return the seed of a trial's initialisation and dropout.

    Args:
        search_seed: The spec's `search.seed`.
        number: The trial's number in its study, from 0.
    """
    return search_seed * SEEDS_APART + number


def shared_start_seed(seed: int) -> int:
    """Return the seed of a student's trained start.

    Every fourth seed shares one.

    Args:
        seed: The student's own.
    """
    return seed % N_SHARED_STARTS


def drawn_seed(first: int, search_seed: int, draw: int) -> int:
    """Return the seed of one luck in a draw.

    No other draw or search shares it.

    Args:
        first: The seed that the spec names, which draw 0 of search 0 has.
        search_seed: The spec's `search.seed`.
        draw: The number of the draw in its setup, from 0.
    """
    return first + search_seed * SEEDS_APART + draw


def split_seed(first: int, n_splits: int, draw: int) -> int:
    """Return the seed of a draw's split. The splits take turns: each has teachers of its own.

    Args:
        first: The seed that the spec names.
        n_splits: How many splits there are.
        draw: The number of the draw in its setup, from 0.
    """
    return first + draw % n_splits


def start_seed(search_seed: int, setup: str, n_trials: int) -> int:
    """Return what a setup's points are spread by while nothing is known.

    Args:
        search_seed: The spec's `search.seed`.
        setup: The setup's key.
        n_trials: How many trials it has.
    """
    return _hashed(f"{search_seed}:{setup}:{n_trials}", _NUMPY_BYTES)


def design_seed(search_seed: int, setup: str) -> int:
    """Return the seed of a setup's fixed design (`random`, `qmc`, `grid`).

    Args:
        search_seed: The spec's `search.seed`.
        setup: The setup's key.
    """
    return _hashed(f"{search_seed}:{setup}", _SAMPLER_BYTES)


def sampler_seed(search_seed: int, setup: str, n_trials: int) -> int:
    """Return the seed of an Optuna sampler for a setup's next trials.

    Args:
        search_seed: The spec's `search.seed`.
        setup: The setup's key.
        n_trials: How many trials it has.
    """
    return _hashed(repr((search_seed, setup, n_trials)), _SAMPLER_BYTES)


def named_seed(seed: int, *name: str | int) -> int:
    """Return the seed of one of the engine's streams, by its name."""
    return _hashed(repr((seed, *name)), _STREAM_BYTES)


def numbered_seed(seed: int, number: int) -> list[int]:
    """Return what NumPy draws from for the n-th of some things.

    Args:
        seed: What all of them share.
        number: Which of them, from 0.
    """
    return [seed, number]


def _hashed(text: str, n_bytes: int) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:n_bytes], "big")

"""Checkpoints of packs: one file for each group of members, written whole or not at all."""

import logging
import pickle
import time
from typing import Any

import torch

from kdsearch.artifacts.store import ArtifactStore
from kdsearch.distill.tensor_bytes import tensor_bytes
from kdsearch.errors import KDSearchError

MAX_SHARE = 0.05
"""The most of a training's time that saving may take."""
FORGOTTEN_S = 30 * 24 * 3600.0
"""A checkpoint that nobody came back for in so long is removed."""

_log = logging.getLogger(__name__)


class Checkpoint:
    """A group's saved state between epochs.

    It is read from the store itself, never from a copy.

    Args:
        store: Where the file is.
        name: The file's name.
        identity: What decides the group's training; a file of another group is not read.
        interval_s: The least time from the start, and from one saving to the next.
    """

    def __init__(self, store: ArtifactStore, name: str, identity: str, interval_s: float = 0.0) -> None:
        self._store = store
        self._name = name
        self._identity = identity
        self._interval_s = interval_s
        self._due = time.monotonic() + interval_s
        self._swept = False

    @property
    def due(self) -> bool:
        """Whether it is time to save again."""
        return time.monotonic() >= self._due

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """Return the last saved state, or None if this group has none.

        A state that can't be read counts as none.
        """
        try:
            file = self._store.open(self._name)
            if file is None:
                return None
            found = torch.load(file, map_location=device, weights_only=True)
        except KDSearchError as error:
            _log.warning("No checkpoint can be read: %s The training starts anew.", error)
            return None
        except (OSError, EOFError, RuntimeError, pickle.UnpicklingError):
            return None
        is_own = isinstance(found, dict) and found.get("identity") == self._identity
        return found["state"] if is_own else None

    def save(self, state: dict[str, Any]) -> None:
        """Save tensors and plain values in place of the previous state.

        Where it can't be stored, on a full disk for one, the training goes on with the checkpoint that
        it had.
        """
        start = time.monotonic()
        try:
            if not self._swept:
                self._store.forget(FORGOTTEN_S)
                self._swept = True
            self._store.replace(self._name, tensor_bytes({"identity": self._identity, "state": state}))
        except (OSError, KDSearchError) as error:
            place = self._store.address(self._name)
            _log.warning("No checkpoint in %s: %s. The training goes on.", place, str(error).rstrip("."))
        end = time.monotonic()
        self._due = end + (max(self._interval_s, (end - start) / MAX_SHARE) if self._interval_s else 0.0)

    def remove(self) -> None:
        """Remove the file; the group has ended."""
        try:
            self._store.remove(self._name)
        except KDSearchError as error:  # it is forgotten later
            _log.warning("A checkpoint stays: %s", error)

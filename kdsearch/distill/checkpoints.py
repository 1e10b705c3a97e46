"""Checkpoints of packs: one file for each group of members, written whole or not at all."""

import logging
import pickle
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from kdsearch.distill.artifacts import tensor_bytes, write_whole

MAX_SHARE = 0.05
"""The most of a training's time that saving may take."""
FORGOTTEN_S = 30 * 24 * 3600.0
"""A checkpoint that nobody came back for in so long is removed."""

_log = logging.getLogger(__name__)


class Checkpoint:
    """Where a group of members is kept between epochs.

    Args:
        path: The file.
        identity: What decides the group's training; a file of another group is not read.
        interval_s: The least time from the start, and from one saving to the next.
    """

    def __init__(self, path: Path, identity: str, interval_s: float = 0.0) -> None:
        self._path = path
        self._identity = identity
        self._interval_s = interval_s
        self._due = time.monotonic() + interval_s

    @property
    def due(self) -> bool:
        """Whether it is time to save again."""
        return time.monotonic() >= self._due

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """Return the state that was saved last, or None where there is none of this group."""
        try:
            found = torch.load(self._path, map_location=device, weights_only=True)
        except (OSError, EOFError, RuntimeError, pickle.UnpicklingError):
            return None
        is_own = isinstance(found, dict) and found.get("identity") == self._identity
        return found["state"] if is_own else None

    def save(self, state: dict[str, Any]) -> None:
        """Save a state of tensors and plain values in place of the one before.

        Where the disk is full, the training goes on with the checkpoint that it had.
        """
        start = time.monotonic()
        try:
            _remove_forgotten(self._path.parent)
            write_whole(self._path, tensor_bytes({"identity": self._identity, "state": state}))
        except OSError as error:
            _log.warning("No checkpoint in %s: %s. The training goes on.", self._path.parent, error)
        end = time.monotonic()
        self._due = end + (max(self._interval_s, (end - start) / MAX_SHARE) if self._interval_s else 0.0)

    def remove(self) -> None:
        """Remove the file; the group has ended."""
        self._path.unlink(missing_ok=True)


def _remove_forgotten(folder: Path) -> None:
    for file in folder.glob("*.pt"):
        with suppress(FileNotFoundError):
            if time.time() - file.stat().st_mtime > FORGOTTEN_S:
                file.unlink()

"""Checkpoints of packs: one file for each group of members, written whole or not at all."""

import os
import pickle
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import torch


class Checkpoint:
    """Where a group of members is kept between epochs.

    Args:
        path: The file.
        identity: What decides the group's training; a file of another group is not read.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self._path = path
        self._identity = identity

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """Return the state that was saved last, or None where there is none of this group."""
        try:
            found = torch.load(self._path, map_location=device, weights_only=True)
        except (OSError, EOFError, RuntimeError, pickle.UnpicklingError):
            return None
        is_own = isinstance(found, dict) and found.get("identity") == self._identity
        return found["state"] if is_own else None

    def save(self, state: dict[str, Any]) -> None:
        """Save a state of tensors and plain values in place of the one before."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=self._path.parent, suffix=".part", delete=False) as file:
            torch.save({"identity": self._identity, "state": state}, file)
        os.replace(file.name, self._path)

    def remove(self) -> None:
        """Remove the file; the group has ended."""
        self._path.unlink(missing_ok=True)

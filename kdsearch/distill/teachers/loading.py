"""A trained teacher read back as a network."""

import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

from kdsearch.artifacts.store import Place, store_at
from kdsearch.distill.data.preprocessing import Preparation, prepare
from kdsearch.distill.models import build_model
from kdsearch.distill.teachers.records import WEIGHTS_FILE, TeacherRecord, find_record
from kdsearch.errors import RequestError, RunError


def load_weights_of(record: TeacherRecord) -> dict[str, Tensor]:
    """Return a trained teacher's weights, on the CPU.

    Raises:
        RunError: The file is missing or damaged.
    """
    file = Path(record.path) / WEIGHTS_FILE
    try:
        weights: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise RunError(f"The teacher's weights {file} can't be read. Delete its folder.") from error
    return weights


def load_teacher(
    teacher: TeacherRecord | str, artifacts: Place | None = None, device: torch.device | str = "cpu"
) -> nn.Module:
    """Return a trained teacher, frozen and in evaluation mode. It takes images normalised like the data.

    Args:
        teacher: Its record, or its digest.
        artifacts: The folder or the URL of the artifact store; a digest needs it.
        device: Where the network is put.

    Raises:
        RequestError: There is no such teacher.
        RunError: Its files are damaged.
    """
    record = _record_of(teacher, artifacts) if isinstance(teacher, str) else teacher
    recipe, fed = record.recipe["teacher"], record.preparation or {}
    model = build_model(
        recipe["arch"],
        record.num_classes,
        record.in_channels,
        image_size=fed.get("size", record.image_size),
        stem=recipe["stem"],
        vocabulary=record.vocabulary,
    )
    if fed:
        own = Preparation(
            tuple(fed["mean"]), tuple(fed["std"]), fed["size"], fed["interpolation"], fed.get("crop", 1.0)
        )
        prepare(model, own, tuple(fed["data_mean"]), tuple(fed["data_std"]), record.image_size)
    model.load_state_dict(load_weights_of(record))
    return model.requires_grad_(False).eval().to(device)


def _record_of(digest: str, artifacts: Place | None) -> TeacherRecord:
    record = None if artifacts is None else find_record(store_at(artifacts), digest, WEIGHTS_FILE)
    if record is None:
        raise RequestError(
            f"`teacher` must be the digest of a teacher in the artifact store, got {digest!r} and "
            f"{str(artifacts)!r}. Train it with `ensure_teacher`."
        )
    return record

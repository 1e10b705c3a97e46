"""The network of a spec's section, with its preparation of images."""

import torch
from torch import nn

from kdsearch.distill.data.dataset import ImageData
from kdsearch.distill.data.preprocessing import Preparation, prepare
from kdsearch.distill.models import build_model
from kdsearch.distill.weights.published import published_preparation
from kdsearch.spec.sections import Preprocessing, Pretraining, Student, Teacher


def preparation_of(section: Teacher | Student, data: ImageData) -> Preparation:
    """Return how images are prepared for a network that a spec describes.

    What the spec leaves open is as published weights were made, else as the study's data are. A student
    and a network with a small stem see the data's size even so.

    Raises:
        RequestError: There are no such weights.
    """
    own = Preparation(data.mean, data.std, data.image_size)
    chosen = section.preprocessing
    source = section.pretraining if isinstance(section, Teacher) else section.init
    weights = source.weights if isinstance(source, Pretraining) else None
    is_text = data.vocabulary is not None
    if is_text or chosen == "data" or (weights is None and not isinstance(chosen, Preprocessing)):
        return own
    base = own if weights is None else published_preparation(section.arch, weights)
    base = base.for_channels(data.in_channels)
    said = chosen if isinstance(chosen, Preprocessing) else Preprocessing()
    keeps_size = chosen != "weights" and (isinstance(section, Student) or section.stem == "small")
    size = said.size or (data.image_size if keeps_size else base.size)
    return Preparation(
        mean=said.mean or base.mean,
        std=said.std or base.std,
        size=data.image_size if size == "data" else size,
        interpolation=base.interpolation,
        crop=said.crop or base.crop,
    ).for_channels(data.in_channels)


def build_prepared(
    section: Teacher | Student, data: ImageData, generator: torch.Generator | None = None
) -> nn.Module:
    """Return a section's network, freshly initialised.

    It takes images that are normalised like the data.

    Raises:
        RequestError: The architecture does not fit, or there are no such weights.
    """
    preparation = preparation_of(section, data)
    model = build_model(
        section.arch,
        data.num_classes,
        data.in_channels,
        image_size=preparation.size,
        stem=section.stem,
        generator=generator,
        vocabulary=data.vocabulary,
    )
    prepare(model, preparation, data.mean, data.std, data.image_size)
    return model

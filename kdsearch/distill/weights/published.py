"""Weights that torchvision, timm and the Hugging Face Hub publish."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.error import URLError

from torch import Tensor, nn

from kdsearch.distill.data.dataset import ImageData
from kdsearch.distill.data.preprocessing import Preparation, prepare
from kdsearch.distill.models.foreign_networks import build_timm
from kdsearch.distill.models.heads import add_to_head, head_parameters
from kdsearch.distill.models.hugging_face import (
    head_problem,
    image_processing,
    model_config,
    published_state,
)
from kdsearch.distill.randomness import seeded
from kdsearch.distill.weights.processors import processed_as
from kdsearch.distill.weights.starts import Start, load_weights
from kdsearch.errors import RequestError, RunError

_KNOWN_INTERPOLATIONS = ("bilinear", "bicubic")
_VIT_POSITIONS = "encoder.pos_embedding"


@dataclass(frozen=True)
class Published:
    """Published weights; `has_new_head`: the head among them was drawn for the study's classes.

    `head` are tensors that the network draws beside those of its last layer; `why` says why, where known.
    """

    state: Mapping[str, Tensor]
    has_new_head: bool
    head: tuple[str, ...] = ()
    why: str | None = None


def load_published(
    model: nn.Module,
    arch: str,
    weights: str,
    data: ImageData,
    *,
    new_stem: bool = False,
    is_prepared: bool = False,
) -> Start:
    """Load published weights into a network of `torchvision:NAME`, `timm:NAME` or `hf:NAME`.

    The network then takes images that are normalised like the data's, and sees them normalised as those that
    the weights were made with.

    Args:
        model: The network; its head stays as it is where the classes differ in number.
        arch: Its name.
        weights: torchvision's name of the weights (`IMAGENET1K_V1`), or timm's tag (`a1_in1k`);
            or a revision of the Hub; `DEFAULT` stands for each library's own choice.
        data: The images that the network is for.
        new_stem: The first convolution may differ in size; it then stays as it is.
        is_prepared: What the network is fed with has been decided before.

    Returns:
        What stays as it was drawn.

    Raises:
        RequestError: There are no such weights.
        RunError: They can't be downloaded.
    """
    check_published(arch, weights)
    library, _, name = arch.partition(":")
    readers = {"torchvision": _torchvision_state, "timm": _timm_state, "hf": _hub_state}
    found = readers[library](name, weights, data)
    source = f"{arch} {weights}"
    if not is_prepared:
        own = replace(published_preparation(arch, weights), size=data.image_size)
        prepare(model, own, data.mean, data.std, data.image_size)
    add_to_head(model, found.head)
    start = load_weights(model, found.state, source=source, new_head=found.has_new_head, new_stem=new_stem)
    return start if found.why is None else replace(start, why=found.why)


def published_head(model: nn.Module, arch: str, weights: str, data: ImageData) -> Start:
    """Return what published weights would leave as it was drawn.

    It covers what is known before they are loaded.

    Raises:
        RequestError: There are no such weights, or their classes are in another order.
    """
    check_published(arch, weights)
    library, _, name = arch.partition(":")
    if library != "hf":
        return Start()
    problem = _problem_with_head(name, weights, data)
    return Start() if problem is None else Start(head_parameters(model), problem)


def check_published(arch: str, weights: str) -> None:
    """Refuse weights that no library publishes for an architecture. No weights are downloaded.

    Raises:
        RequestError: There are no such weights.
    """
    library, _, name = arch.partition(":")
    if library == "torchvision":
        import torchvision

        known = list(torchvision.models.get_model_weights(name).__members__)
    elif library == "timm":
        import timm

        name = name.partition(".")[0]
        known = [full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*")]
    elif library == "hf":
        model_config(name, _revision(weights))
        return
    else:
        raise RequestError(
            f"`pretraining.weights` must go with torchvision:NAME, timm:NAME or hf:NAME, got {arch!r}. "
            "Use {checkpoint: PATH} or {dataset: NAME, epochs: N} for other architectures."
        )
    if not known or weights not in (*known, "DEFAULT"):
        choice = (
            f"Choose one of {', '.join(dict.fromkeys((*known, 'DEFAULT')))}." if known else "It has none."
        )
        raise RequestError(
            f"`pretraining.weights` must be one of {library}'s for {name}, got {weights!r}. {choice}"
        )


def published_preparation(arch: str, weights: str) -> Preparation:
    """Return how images were prepared for published weights, from their library's records.

    Raises:
        RequestError: There are no such weights.
    """
    check_published(arch, weights)
    library, _, name = arch.partition(":")
    if library == "torchvision":
        import torchvision

        made: Any = torchvision.models.get_model_weights(name)[weights].transforms()
        return Preparation(tuple(made.mean), tuple(made.std), made.crop_size[0], made.interpolation.value)
    if library == "hf":
        return processed_as(image_processing(name, _revision(weights)), name)
    import timm

    base = name.partition(".")[0]
    config: Any = timm.models.get_pretrained_cfg(name if weights == "DEFAULT" else f"{base}.{weights}")
    known = config.interpolation if config.interpolation in _KNOWN_INTERPOLATIONS else "bilinear"
    return Preparation(tuple(config.mean), tuple(config.std), config.input_size[-1], known)


def _torchvision_state(name: str, weights: str, data: ImageData) -> Published:
    import torchvision

    published = torchvision.models.get_model_weights(name)[weights]
    try:
        state: dict[str, Tensor] = published.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise RunError(_unavailable("torchvision", name, weights, error)) from error
    if _VIT_POSITIONS in state:
        patch = state["conv_proj.weight"].shape[-1]
        state = dict(
            torchvision.models.vision_transformer.interpolate_embeddings(data.image_size, patch, state)
        )
    return Published(state, has_new_head=False)


def _timm_state(name: str, weights: str, data: ImageData) -> Published:
    tagged = name if weights == "DEFAULT" else f"{name.partition('.')[0]}.{weights}"
    try:
        with seeded(0):  # timm draws a head for other classes
            model: Any = build_timm(
                tagged, data.num_classes, data.in_channels, data.image_size, pretrained=True
            )
    except (OSError, RuntimeError, ValueError) as error:
        raise RunError(_unavailable("timm", name, weights, error)) from error
    return Published(model.state_dict(), has_new_head=model.pretrained_cfg["num_classes"] != data.num_classes)


def _hub_state(name: str, weights: str, data: ImageData) -> Published:
    is_text = data.vocabulary is not None
    problem = _problem_with_head(name, weights, data)
    try:
        with seeded(0):  # transformers draws what a model lacks
            state, lacking = published_state(name, _revision(weights), is_text=is_text)
    except (OSError, ValueError, RuntimeError) as error:
        raise RunError(_unavailable("hf", name, weights, error)) from error
    return Published(state, problem is not None, lacking, problem)


def _problem_with_head(name: str, weights: str, data: ImageData) -> str | None:
    return head_problem(name, _revision(weights), data.classes, is_text=data.vocabulary is not None)


def _revision(weights: str) -> str:
    return "main" if weights == "DEFAULT" else weights


def _unavailable(library: str, name: str, weights: str, error: Exception) -> str:
    return (
        f"`pretraining.weights` {weights!r} of {library}:{name} can't be had: {str(error).rstrip('.')}. "
        "Fetch them where there is a network, or use {checkpoint: PATH}."
    )

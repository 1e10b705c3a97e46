"""Networks of the Hugging Face Hub or of a folder, `hf:NAME`.

Such a folder is written by `save_pretrained`.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from kdsearch.distill.models.inputs import Inputs
from kdsearch.distill.models.texts import give_logits, take_tokens
from kdsearch.errors import RequestError

_IMAGES, _TEXTS = "ForImageClassification", "ForSequenceClassification"
_NAMELESS = re.compile(r"LABEL_\d+")  # what a class is called where nobody has named it
_LOADING = (OSError, ValueError, RuntimeError, KeyError, TypeError)  # what transformers raises


def build_hugging_face(name: str, num_classes: int, inputs: Inputs) -> nn.Module:
    """Return a freshly initialised classifier of transformers for our inputs.

    Its output is the logits.

    Args:
        name: A model of the Hub, or a folder.
        num_classes: How many logits it gives.
        inputs: What it takes; the kind decides whether it is a classifier of images or of texts.

    Raises:
        RequestError: There is no such model, or none of that kind.
    """
    config = model_config(name)
    config.num_labels = num_classes
    is_text = inputs.vocabulary is not None
    for setting, value in (("num_channels", inputs.in_channels), ("image_size", inputs.size)):
        if not is_text and isinstance(getattr(config, setting, None), int):
            setattr(config, setting, value)
    kind = _automatic(is_text)
    try:
        model: nn.Module = kind.from_config(config).float()
    except _LOADING as error:
        raise RequestError(
            f"`arch` must be a network that classifies {'texts' if is_text else 'images'}, got 'hf:{name}' "
            f"({first_line(error)})."
        ) from error
    if is_text:
        take_tokens(model)
    give_logits(model)
    return model


def model_config(name: str, revision: str | None = None) -> Any:
    """Return a model's configuration.

    For one of the Hub a few kilobytes are fetched once.

    Raises:
        RequestError: There is no such model, or it can't be had here.
    """
    import transformers

    setting = "pretraining.weights" if revision else "arch"
    if name.startswith(("/", ".", "~")) and not Path(name).is_dir():
        raise RequestError(
            f"`{setting}` must be hf:NAME of a folder that is there, got 'hf:{name}'. Check its spelling."
        )
    try:
        return _fetched(transformers.AutoConfig.from_pretrained, name, revision=revision or "main")
    except _LOADING as error:
        raise RequestError(
            f"`{setting}` must be a model of the Hugging Face Hub or a folder of save_pretrained, got "
            f"'hf:{name}'{f' at {revision!r}' if revision else ''} ({first_line(error)}). Check its "
            "spelling, or fetch it where there is a network."
        ) from error


def head_problem(name: str, revision: str, classes: Sequence[str], *, is_text: bool) -> str | None:
    """Return why a published head does not fit the data, or None.

    Raises:
        RequestError: Its head names the data's classes in another order.
    """
    config = model_config(name, revision)
    kinds = [str(kind) for kind in getattr(config, "architectures", None) or ()]
    if kinds and not any(_TEXTS in kind if is_text else _IMAGES in kind for kind in kinds):
        return f"'hf:{name}' is a {kinds[0]}, without a head for classes"
    if config.num_labels != len(classes):
        return f"the head of 'hf:{name}' is of {config.num_labels} classes, not of {len(classes)}"
    named = [_plain(config.id2label[index]) for index in range(len(classes))]
    wanted = [_plain(own) for own in classes]
    if named != wanted and sorted(named) == sorted(wanted):
        raise RequestError(
            f"`pretraining.weights` must number the classes as the data do, got 'hf:{name}' with "
            f"{', '.join(named[:5])} and data with {', '.join(wanted[:5])}. Number the data's classes so."
        )
    return None


def published_state(name: str, revision: str, *, is_text: bool) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return a published model's weights and the head weights it lacks.

    Weights that its body lacks are left out, so that loading says so.

    Raises:
        OSError, ValueError, RuntimeError: They can't be had.
    """
    with _no_bars():
        load = _automatic(is_text).from_pretrained
        model, info = _fetched(load, name, revision=revision, output_loading_info=True)
    missing = set(info["missing_keys"])
    body = f"{model.base_model_prefix}."
    of_head = tuple(n for n in sorted(missing) if not n.startswith(body) or "pooler" in n)
    return {n: value for n, value in model.float().state_dict().items() if n not in missing}, of_head


def image_processing(name: str, revision: str) -> dict[str, Any]:
    """Return how a published model's images are prepared: its image processor's values by name.

    Raises:
        RequestError: Nothing says so.
    """
    import transformers

    try:
        kind: Any = transformers.AutoImageProcessor
        values: dict[str, Any] = _fetched(kind.from_pretrained, name, revision=revision).to_dict()
    except (*_LOADING, ImportError) as error:
        raise RequestError(
            f"`preprocessing` must be given for 'hf:{name}', which does not say how its images were prepared "
            f"({first_line(error)}). Set it to {{mean: […], std: […], size: N}}, or to data."
        ) from error
    return values


def first_line(error: Exception) -> str:
    """Return what an error says in one line, without a full stop."""
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    return said.rstrip(".:")


def _fetched(load: Callable[..., Any], name: str, **options: Any) -> Any:
    """Return what is loaded: as it was fetched before, so that a study keeps to it, or fetched now.

    The Hub would else be asked for each student whether there is something newer.
    """
    try:
        return load(name, local_files_only=True, **options)
    except _LOADING:
        if Path(name).is_dir():
            raise
        return load(name, **options)


@contextmanager
def _no_bars() -> Iterator[None]:
    """Hide the progress bars of loading, which would cross a study's own."""
    from transformers.utils import logging

    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()


def _plain(name: Any) -> str:
    text = str(name)
    return text if _NAMELESS.fullmatch(text) else text.strip().lower()


def _automatic(is_text: bool) -> Any:
    import transformers

    return getattr(transformers, f"AutoModel{_TEXTS if is_text else _IMAGES}")

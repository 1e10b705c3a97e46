"""Networks of torchvision, of timm, and of the user's own modules."""

import inspect
from typing import Any

import torch
from torch import nn

from kdsearch.distill.factories import load_factory
from kdsearch.distill.models.channels import adapt_input_channels
from kdsearch.distill.models.heads import head_modules, note_head
from kdsearch.distill.models.inputs import Inputs
from kdsearch.distill.models.texts import give_logits, take_tokens
from kdsearch.errors import RequestError

# Auxiliary heads would change what a forward pass gives back while training.
_TORCHVISION_OPTIONS: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}


def build_torchvision(name: str, num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """Return a torchvision network for images of a size, freshly initialised."""
    import torchvision  # a second of CPU time that our own networks need not spend

    options = dict(_TORCHVISION_OPTIONS.get(name, {}))
    if name.startswith("vit_"):
        options["image_size"] = image_size
    try:
        model: nn.Module = torchvision.models.get_model(
            name, weights=None, num_classes=num_classes, **options
        )
    except (ValueError, RuntimeError, AssertionError) as error:
        raise RequestError(
            f"`arch` must be a torchvision model that fits, got {name!r} ({error})."
        ) from error
    _set_input_channels(model, in_channels)
    return model


def build_timm(
    name: str, num_classes: int, in_channels: int, image_size: int, *, pretrained: bool = False
) -> nn.Module:
    """Return a timm network for images of a size."""
    try:
        import timm
    except ImportError as error:
        raise RequestError(
            f"`arch` needs timm, got 'timm:{name}'. Install it: pip install 'kdsearch-hpo[timm]'."
        ) from error
    base = name.partition(".")[0]
    if not timm.is_model(base):
        close = ", ".join(timm.list_models(f"*{base}*")[:5]) or "none that is like it"
        raise RequestError(f"`arch` must be a timm model, got {name!r}. timm has {close}.")
    options: dict[str, Any] = {
        "num_classes": num_classes,
        "in_chans": in_channels,
        "pretrained": pretrained,
    }
    try:
        model: nn.Module = timm.create_model(name, img_size=image_size, **options)
    except TypeError:  # networks of no fixed size take no `img_size`
        model = timm.create_model(name, **options)
    return model


def build_from_factory(name: str, num_classes: int, inputs: Inputs) -> nn.Module:
    """Return the network of `package.module:factory`.

    The factory is called with those of `num_classes`, `in_channels` and `image_size` that it takes, by
    name, and returns an `nn.Module` that maps images [B, C, H, W] to logits; a linear head of another
    number of classes is replaced, and parameters of another type are taken in float32, in which weights are
    learned: `training.precision` says what is computed in. For texts it is offered `num_classes`,
    `vocab_size` and `max_length`, and its network is called with `input_ids` and `attention_mask` by name.
    """
    factory = load_factory(name, "arch")
    is_text = inputs.vocabulary is not None
    own = {"vocab_size": inputs.vocabulary, "max_length": inputs.size}
    offered = {
        "num_classes": num_classes,
        **(own if is_text else {"in_channels": inputs.in_channels, "image_size": inputs.size}),
    }
    parameters = inspect.signature(factory).parameters
    takes_all = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    given = {key: value for key, value in offered.items() if takes_all or key in parameters}
    missing = [
        key
        for key, p in parameters.items()
        if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and key not in given
    ]
    if missing:
        raise RequestError(
            f"`arch` {name!r} must take no arguments but {', '.join(offered)}, got "
            f"{', '.join(missing)} without a default. Give it one."
        )
    model = factory(**given)
    if not isinstance(model, nn.Module):
        raise RequestError(f"`arch` {name!r} must return an nn.Module, got {type(model).__name__}.")
    model.float()
    if is_text:
        take_tokens(model)
        give_logits(model)
    _set_head(model, num_classes, inputs)
    return model


def use_small_stem(model: nn.Module, arch: str) -> None:
    """Make an ImageNet residual network's stem fit small images.

    Its first convolution becomes 3×3 of stride 1, with no pooling after it.

    Raises:
        RequestError: The network is not one of those.
    """
    stem, pool = getattr(model, "conv1", None), getattr(model, "maxpool", None)
    if not (isinstance(stem, nn.Conv2d) and stem.stride == (2, 2) and isinstance(pool, nn.Module)):
        raise RequestError(
            f"`stem` must be standard for {arch!r}, got 'small'. Only ImageNet's residual networks "
            "(torchvision:resnet18, timm:resnet18, …) have a stem to make smaller."
        )
    convolution = nn.Conv2d(stem.in_channels, stem.out_channels, 3, padding=1, bias=stem.bias is not None)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    model.conv1, model.maxpool = convolution, nn.Identity()


def check_fits(model: nn.Module, arch: str, num_classes: int, inputs: Inputs) -> None:
    """Raise RequestError unless the network gives logits for inputs of this form."""
    training = model.training
    try:
        with torch.no_grad():
            logits = model.eval()(_example(inputs))
    except _misfits(inputs) as error:
        advice = (
            "Set a larger `dataset.image_size`, or choose another."
            if inputs.vocabulary is None
            else "Let it take `input_ids` and `attention_mask` of that size, tokenised as it was made for."
        )
        raise RequestError(
            f"`arch` must be a network for {inputs}, got {arch!r} ({error}). {advice}"
        ) from error
    model.train(training)
    shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if shape != (1, num_classes):
        raise RequestError(
            f"`arch` must give one logit for each of {num_classes} classes, got {arch!r}, "
            f"whose output for one example is {shape}."
        )


def _set_input_channels(model: nn.Module, in_channels: int) -> None:
    """Fit the first convolution to the images' channels. Its weights are fitted too."""
    name, first = next((n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d))
    if first.in_channels == in_channels:
        return
    fitted = nn.Conv2d(
        in_channels,
        first.out_channels,
        first.kernel_size,  # type: ignore[arg-type]  # torch types it as a tuple of any length
        first.stride,  # type: ignore[arg-type]
        first.padding,  # type: ignore[arg-type]
        bias=first.bias is not None,
    )
    fitted.weight = nn.Parameter(adapt_input_channels(first.weight.detach(), in_channels))
    if first.bias is not None:
        fitted.bias = first.bias
    _replace(model, name, fitted)


def _misfits(inputs: Inputs) -> tuple[type[Exception], ...]:
    """Return what networks raise for inputs of the wrong form."""
    of_all = (RuntimeError, AssertionError, ValueError)
    return of_all if inputs.vocabulary is None else (*of_all, IndexError, TypeError)


def _example(inputs: Inputs) -> torch.Tensor:
    """Return one example. One of texts has the last token, which the network must know."""
    if inputs.vocabulary is None:
        return inputs.zeros()
    return inputs.random(1, torch.Generator().manual_seed(0))


def _set_head(model: nn.Module, num_classes: int, inputs: Inputs) -> None:
    """Replace linear heads of another number of classes. What else does not fit is said by `check_fits`."""
    training = model.training
    try:
        with torch.no_grad():
            logits = model.eval()(_example(inputs))
    except _misfits(inputs):
        return
    finally:
        model.train(training)
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or logits.shape[1] == num_classes:
        return
    note_head(model, inputs.zeros())
    for name in head_modules(model):
        head = model.get_submodule(name)
        if isinstance(head, nn.Linear) and head.out_features == logits.shape[1]:
            _replace(model, name, nn.Linear(head.in_features, num_classes, bias=head.bias is not None))


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, module)

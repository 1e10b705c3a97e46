"""Networks for texts, called with one tensor."""

from typing import Any

from torch import Tensor, nn

from kdsearch.distill.models.inputs import ROWS


def take_tokens(model: nn.Module) -> None:
    """Let a network be called with tokens [B, R, L]. It gets their rows by name, as transformers' do."""
    model.register_forward_pre_hook(_rows_by_name, with_kwargs=True)


def give_logits(model: nn.Module) -> None:
    """Make a network return its logits alone. Networks of transformers return them among others."""
    model.register_forward_hook(_logits_alone)


def _rows_by_name(
    model: nn.Module, inputs: tuple[Any, ...], others: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    del model
    (tokens,) = inputs
    return (), others | dict(zip(ROWS, tokens.unbind(1), strict=False))


def _logits_alone(model: nn.Module, inputs: tuple[Any, ...], output: Any) -> Tensor:
    del model, inputs
    logits: Tensor = getattr(output, "logits", output)
    return logits

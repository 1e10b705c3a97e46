"""Dropout that depends on member, layer and step, never on neighbours. The member counts by its seed."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

import torch
from torch import Tensor, nn

from kdsearch.distill.randomness import hash_key, hashed, lengthened_key, seeded
from kdsearch.errors import RunError

_WORDS = 2**32  # of 32 bits, the values that a hash takes
_DROPOUT = 0xD0  # sets these keys apart from those of views
StepKey: TypeAlias = int | Tensor
"""A step of training as a number; or, where the step is recorded, a tensor that holds its `hash_key`."""


class KeyedDropout(nn.Module):
    """Dropout with a mask hashed from a key, step and call.

    The mask is the same alone, looped and fused. A network may call it at several places of its forward pass:
    each call of a step has a mask of its own. The key is a buffer, so that a fused pack stacks the members'
    keys like their other buffers.
    """

    key: Tensor

    def __init__(self, p: float, key: int) -> None:
        super().__init__()
        self.p = p
        self.begin(0)
        self.register_buffer("key", torch.tensor(key), persistent=False)

    def begin(self, step: StepKey) -> None:
        """Begin the forward pass of a step."""
        self._step_key = step if isinstance(step, Tensor) else hash_key(step)
        self._calls = 0

    def forward(self, values: Tensor) -> Tensor:
        """Return the values, in training mode with dropout.

        A share `p` is set to 0 and the rest is scaled up.
        """
        if not self.training or self.p == 0:
            return values
        position = torch.arange(values.numel(), device=values.device)
        words = hashed(self._next_key(), hashed(_DROPOUT, position) ^ self.key)
        kept = (words >= round(self.p * _WORDS)).view(values.shape)
        return torch.where(kept, values / (1 - self.p), 0.0) if self.p < 1 else torch.zeros_like(values)

    def _next_key(self) -> StepKey:
        """Return the key of this call. A step's first call has the key of the step itself."""
        # Activation checkpointing calls the forward pass again inside the backward pass.
        if torch._C._current_graph_task_id() != -1:
            if self._calls > 1:
                raise RunError(
                    "`student.arch` must not call one nn.Dropout several times under activation "
                    "checkpointing. Give each place a dropout of its own."
                )
            return self._step_key
        call = self._calls
        self._calls += 1
        return lengthened_key(self._step_key, call) if call else self._step_key


def key_dropout(model: nn.Module, seed: int) -> None:
    """Replace every `nn.Dropout` of a network by one that a seed decides."""
    found = [(name, m) for name, m in model.named_modules() if type(m) is nn.Dropout]
    for layer, (name, module) in enumerate(found):
        parent, _, child = name.rpartition(".")
        keyed = KeyedDropout(module.p, hash_key(seed, layer)).train(module.training)
        setattr(model.get_submodule(parent), child, keyed)


def draws_globally(model: nn.Module, images: Tensor) -> bool:
    """Return whether a training network uses the global generators.

    It then has randomness of a kind that is not `nn.Dropout` (stochastic depth, dropout of attention).
    """
    tried = copy.deepcopy(model).train()  # a forward pass may change buffers, or state of any other kind
    with seeded(0, images.device), torch.no_grad():
        before = _generator_states(images.device)
        tried(images)
        after = _generator_states(images.device)
    return any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


@contextmanager
def member_randomness(seed: int, step: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators for one member's step; restore them after."""
    with seeded(hash_key(_DROPOUT, seed, step), device):
        yield


def _generator_states(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states

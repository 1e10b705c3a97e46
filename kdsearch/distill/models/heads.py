"""The head of a network, found in the graph of an output."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

_HEADS = "_kdsearch_head"


def note_head(model: nn.Module, logits_of: Tensor) -> None:
    """Find a network's head and note it there for `head_parameters`.

    Two heads whose logits are averaged are both the head; so is what stands between it and the logits.

    Args:
        model: The network.
        logits_of: A batch of what it takes.
    """
    found = _head_in_graph(model, logits_of)
    if found:
        setattr(model, _HEADS, found)


def add_to_head(model: nn.Module, names: Sequence[str]) -> None:
    """Let more of a network's tensors be its head: what published weights lack of the layers before it."""
    if names:
        setattr(model, _HEADS, tuple(dict.fromkeys((*names, *head_parameters(model)))))


def head_parameters(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the head's parameters: as noted, else those of the layer that is defined last."""
    noted: tuple[str, ...] | None = getattr(model, _HEADS, None)
    if noted is not None:
        return noted
    layers = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    if not layers:
        return ()
    name, head = layers[-1]
    return tuple(f"{name}.{own}" if name else own for own, _ in head.named_parameters())


def head_modules(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the head's modules. They are in the order of definition."""
    return tuple(dict.fromkeys(name.rpartition(".")[0] for name in head_parameters(model)))


def head_tensors(model: nn.Module) -> frozenset[str]:
    """Return the head's parameters and its modules' buffers, by name.

    The names are those in the state dict.
    """
    parameters, owners = set(head_parameters(model)), set(head_modules(model)) - {""}
    names = model.state_dict()
    return frozenset(n for n in names if n in parameters or n.rpartition(".")[0] in owners)


def _head_in_graph(model: nn.Module, batch: Tensor) -> tuple[str, ...]:
    """Return the parameters nearest to the logits on every path of data.

    A path ends where a matrix that has a dimension of the classes' number is applied to the data.
    """
    tried = copy.deepcopy(model).eval().requires_grad_(True)
    example = next(tried.parameters(), torch.zeros(()))
    data: list[Tensor] = []
    if batch.is_floating_point():
        batch = batch.to(example).detach().requires_grad_(True)
        data.append(batch)
    else:
        _begin_at_embeddings(tried, data)
    logits = tried(batch)
    if not data or logits.grad_fn is None:  # a frozen network may detach what it gives
        return ()
    names = {id(parameter): name for name, parameter in tried.named_parameters()}
    graph = _Graph(names, data)
    found = graph.nearest(logits.grad_fn, logits.shape[-1])
    return tuple(name for name, _ in tried.named_parameters() if name in found)


def _begin_at_embeddings(model: nn.Module, data: list[Tensor]) -> None:
    """Let what embeddings give be the data, noted as it comes: no gradient leads to a token's number."""

    def note(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        data.append(output.detach().requires_grad_(True))
        return data[-1]

    for module in model.modules():
        if isinstance(module, nn.Embedding):
            module.register_forward_hook(note)


class _Graph:
    """Autograd's graph of an output.

    It is split into what carries data and what makes parameters ready.

    Args:
        names: The parameters' names by their identity.
        data: The data, which require a gradient, so that they are told from parameters.
    """

    def __init__(self, names: Mapping[int, str], data: Sequence[Tensor]) -> None:
        self._names = names
        self._data = {id(own) for own in data}
        self._carries: dict[Any, bool] = {}

    def nearest(self, end: Any, num_classes: int) -> set[str]:
        """Return the names of the head's parameters, searched from the end."""
        found: set[str] = set()
        has_matrix = False
        ahead, seen = [end], {end}
        while ahead:
            node = ahead.pop()
            own = [leaf for part in _inputs(node) if not self._carries_data(part) for leaf in _leaves(part)]
            small = [leaf for leaf in own if leaf.numel() <= num_classes]
            matrices = [leaf for leaf in own if leaf.ndim > 1 and num_classes in leaf.shape]
            matrices = [leaf for leaf in matrices if leaf.numel() > num_classes]
            found |= {self._names[id(leaf)] for leaf in (*small, *matrices) if id(leaf) in self._names}
            if matrices:
                has_matrix = True
                continue
            behind = [part for part in _inputs(node) if self._carries_data(part) and part not in seen]
            seen |= set(behind)
            ahead += behind
        return found if has_matrix else set()

    def _carries_data(self, node: Any) -> bool:
        """Return whether a node comes from the data. Without recursion, for graphs are deep."""
        waiting = [node]
        while waiting:
            top = waiting[-1]
            missing = [part for part in _inputs(top) if part not in self._carries]
            if missing:
                waiting += missing
                continue
            waiting.pop()
            is_data = id(getattr(top, "variable", None)) in self._data
            self._carries[top] = is_data or any(self._carries[part] for part in _inputs(top))
        return self._carries[node]


def _leaves(node: Any) -> list[Tensor]:
    """Return the parameters that a node comes from."""
    found, waiting, seen = [], [node], {node}
    while waiting:
        top = waiting.pop()
        if hasattr(top, "variable"):
            found.append(top.variable)
        behind = [part for part in _inputs(top) if part not in seen]
        seen |= set(behind)
        waiting += behind
    return found


def _inputs(node: Any) -> list[Any]:
    return [part for part, _ in node.next_functions if part is not None]

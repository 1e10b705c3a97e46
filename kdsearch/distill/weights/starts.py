"""The weights that a network starts from: published ones, a checkpoint, or another network's."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdsearch.distill.models import adapt_input_channels, head_modules, head_parameters, head_tensors
from kdsearch.distill.weights.checkpoint_files import StateDict, listed, read_state_dicts
from kdsearch.errors import RequestError
from kdsearch.spec.sections import Finetune

# What DataParallel, torch.compile, FSDP and activation checkpointing put before a module's name.
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_AVERAGED = re.compile(r"(^|[._])(ema|swa|averaged?)([._]|$)", re.IGNORECASE)
# Heads that serve a network's training alone, by the names that published networks give them.
_AUXILIARY = re.compile(r"aux|head|dist|proj|pred|classif|criterion|loss|queue|^fc", re.IGNORECASE)
# What LoRA, DoRA, LoHa, LoKr and IA³ put beside the weights that they change.
_ADAPTERS = re.compile(r"(^|[._])(lora|dora|hada|lokr|ia3)(_|[.]|$)", re.IGNORECASE)
_OF_LAYERS = ("weight", "bias", "gamma", "running_mean")
_COUNTS = ("total_ops", "total_params")  # what thop puts beside a layer that it has counted
_LEAST_BYTES = 2  # of a weight that counts alone


@dataclass(frozen=True)
class Start:
    """What came of loading weights.

    Args:
        untrained: The network's tensors that stay as they were drawn.
        why: Why they do, in words.
        note: What a user should know of the choice that was made in a file with several networks.
    """

    untrained: tuple[str, ...] = ()
    why: str = ""
    note: str | None = None


@dataclass(frozen=True)
class _Candidate:
    """A network's weights in a file: by the names that they would have in ours."""

    label: str
    tensors: Mapping[str, Tensor]
    refused: Sequence[str]


def load_checkpoint(model: nn.Module, path: str, *, new_stem: bool = False) -> Start:
    """Load a checkpoint's weights into a network. A head of another size stays as it is.

    Where the file holds averaged weights (EMA) beside those that they are an average of, they are taken.

    Args:
        model: The network.
        path: A file of `torch.save` or safetensors that holds the network's state dict, at any place and
            behind any prefix, as training scripts, Lightning, timm, DataParallel and torch.compile save it.
        new_stem: The network's first convolution may differ in size; it then stays as it is.

    Returns:
        What stays as it was drawn, and what was chosen.

    Raises:
        RequestError: The file can't be read, its weights belong to another architecture or to several
            networks, or are not finite.
    """
    states = read_state_dicts(path)
    _refuse_adapters(model, states, path)
    chosen, note = _chosen(model, states, path, new_stem)
    _refuse_scaled(model, chosen.tensors, path)
    _refuse_larger(model, chosen.tensors, path)
    start = load_weights(model, chosen.tensors, source=path, new_stem=new_stem)
    return Start(start.untrained, start.why, note)


def load_weights(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    *,
    source: str,
    new_head: bool = False,
    new_stem: bool = False,
) -> Start:
    """Load weights into a network. A head of another size stays as it is.

    Weights of a first convolution for colour images are fitted to grey ones, and back.

    Args:
        model: The network.
        weights: By the name they have in the network; more than it needs does no harm.
        source: Where they come from, for the error message.
        new_head: The head stays as it is even where its size agrees.
        new_stem: The first convolution may differ in size; it then stays as it is.

    Returns:
        What stays as it was drawn.

    Raises:
        RequestError: The weights belong to another architecture, or are not finite.
    """
    own = model.state_dict()
    fitted = {
        name: fit for name, value in own.items() if (fit := _fitted(weights.get(name), value)) is not None
    }
    refused = _refused(own, fitted, _free(model, own, new_stem))
    if refused:
        raise RequestError(_mismatch(own, weights, refused, source))
    taken = {name: value.to(own[name].dtype) for name, value in fitted.items()}  # a larger type overflows
    broken = [name for name, value in taken.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise RequestError(
            f"`pretraining` must give finite weights, got {source!r} with NaN or infinity in "
            f"{listed(broken, 3)}. Take a checkpoint from before the training diverged."
        )
    of_head = head_tensors(model)
    head = [name for name in own if name in of_head and not _is_counter(name)]
    lacking = [name for name in head if name not in fitted]
    if new_head or lacking:
        fitted = {name: value for name, value in fitted.items() if name not in head}
    model.load_state_dict({**own, **fitted})
    stem = [name for name in _stem_of(own, new_stem) if name not in fitted]
    untrained = (*stem, *(head if new_head or lacking else ()))
    return Start(untrained, _why_untrained(own, weights, stem, lacking, source))


def refuse_untrained(start: Start, finetune: Finetune) -> None:
    """Raise RequestError where a head or first layer would stay untrained.

    Args:
        start: What loading its weights has left as it was drawn.
        finetune: How it is trained afterwards.
    """
    if not start.untrained or finetune.epochs:
        return
    of_head_alone = not start.why.startswith(_SMALL_STEM)
    if of_head_alone and finetune.head_epochs:
        return
    also = " or `finetune.head_epochs`" if of_head_alone else ""
    raise RequestError(
        f"`finetune.epochs` must be above 0 where {listed(start.untrained, 3)} would stay random, got 0: "
        f"{start.why}. Set `finetune.epochs`{also}, or give weights that fit."
    )


def fresh(model: nn.Module) -> Start:
    """Return the start of a network that nothing is loaded into."""
    return Start(head_parameters(model), "there is no pretraining")


_SMALL_STEM = "the small stem"


def _why_untrained(
    own: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    stem: Sequence[str],
    lacking: Sequence[str],
    source: str,
) -> str:
    if stem:
        return f"{_SMALL_STEM} has no weights in {source!r}"
    if not lacking:
        return f"the head of {source!r} is of other classes"
    first = lacking[0]
    if first not in weights:
        return f"{source!r} has no {first}"
    return f"{first} is of {_size(weights[first])} in {source!r} and of {_size(own[first])} here"


def _chosen(
    model: nn.Module, states: Sequence[StateDict], path: str, new_stem: bool
) -> tuple[_Candidate, str | None]:
    """Return a file's one fitting network and a note on others."""
    own = model.state_dict()
    free = _free(model, own, new_stem)
    found = [candidate for state in states for candidate in _candidates(own, state, free)]
    fitting = [candidate for candidate in found if not candidate.refused]
    if not fitting:
        nearest = min(found, key=lambda candidate: len(candidate.refused), default=None)
        if nearest is None:
            largest = max(states, key=lambda state: len(state.tensors))
            raise RequestError(_mismatch(own, largest.tensors, list(own), path))
        raise RequestError(_mismatch(own, nearest.tensors, nearest.refused, path))
    averaged = [candidate for candidate in fitting if _AVERAGED.search(candidate.label)]
    plain = [candidate for candidate in fitting if candidate not in averaged]
    distinct = _distinct(averaged or plain, own)
    if len(distinct) > 1:
        names = ", ".join(f"`{candidate.label}`" for candidate in distinct)
        raise RequestError(
            f"`pretraining.checkpoint` must hold one network that fits, got {path!r} with {names}. "
            "Save the state dict of the one that is meant alone."
        )
    (chosen,) = distinct
    if averaged and plain:
        return chosen, f"{path}: of its weights the averaged ones are taken, `{chosen.label}`"
    nameless = [".".join(state.keys) for state in states if not state.tensors]
    unfit = [label for label in (*(own.label for own in found), *nameless) if _AVERAGED.search(label)]
    if unfit and not averaged:
        return (
            chosen,
            f"{path}: its averaged weights, `{unfit[0]}`, are not whole or have no names; `{chosen.label}` "
            "are taken",
        )
    return chosen, None


def _candidates(own: Mapping[str, Tensor], state: StateDict, free: frozenset[str]) -> Iterator[_Candidate]:
    """Yield the networks in a state dict that have our names. The names may follow a prefix."""
    names = {_unwrapped(name): name for name in own}
    tensors = {_unwrapped(name): value for name, value in state.tensors.items()}
    for cut in dict.fromkeys(("", _shared_prefix(list(names)))):
        full = {name.removeprefix(cut): name_here for name, name_here in names.items()}
        for prefix in _prefixes(list(tensors), set(full)):
            behind = {name[len(prefix) :]: v for name, v in tensors.items() if name.startswith(prefix)}
            inside = {full.get(name, name): value for name, value in behind.items()}
            fitted = {n: v for n, value in own.items() if (v := _fitted(inside.get(n), value)) is not None}
            label = ".".join((*state.keys, prefix)).strip(".") or "the file itself"
            yield _Candidate(label, inside, _refused(own, fitted, free))


def _prefixes(names: Sequence[str], wanted: set[str]) -> list[str]:
    """Return the prefixes that stand before most of our names."""
    counts: Counter[str] = Counter()
    for name in names:
        parts = name.split(".")
        for start in range(len(parts)):
            if ".".join(parts[start:]) in wanted:
                counts["".join(f"{part}." for part in parts[:start])] += 1
    most = max(counts.values(), default=0)
    return [prefix for prefix, count in counts.items() if 2 * count >= most]


def _unwrapped(name: str) -> str:
    """Return a name without what wrappers of modules put into it."""
    parts = name.split(".")
    return ".".join([part for part in parts[:-1] if part not in _WRAPPERS] + parts[-1:])


def _shared_prefix(names: Sequence[str]) -> str:
    """Return the first segment that all names share, with its dot. It is empty where they differ."""
    firsts = {name.partition(".")[0] for name in names}
    return f"{firsts.pop()}." if len(firsts) == 1 and all("." in name for name in names) else ""


def _distinct(candidates: Sequence[_Candidate], own: Mapping[str, Tensor]) -> list[_Candidate]:
    """Return the candidates without those that equal an earlier one."""
    found: list[_Candidate] = []
    for candidate in candidates:
        if not any(_same(candidate.tensors, other.tensors, own) for other in found):
            found.append(candidate)
    return found


def _same(a: Mapping[str, Tensor], b: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> bool:
    both = [(a.get(name), b.get(name)) for name in own]
    return all(
        x is y or (x is not None and y is not None and x.dtype == y.dtype and torch.equal(x, y))
        for x, y in both
    )


def _free(model: nn.Module, own: Mapping[str, Tensor], new_stem: bool) -> frozenset[str]:
    """Return the names of a network's tensors that weights may lack."""
    counters = filter(_is_counter, own)
    return frozenset((*_stem_of(own, new_stem), *counters, *head_tensors(model)))


def _refused(own: Mapping[str, Tensor], fitted: Mapping[str, Tensor], free: frozenset[str]) -> list[str]:
    """Return the names that weights must have and lack."""
    return [name for name in own if name not in fitted and name not in free]


def _refuse_adapters(model: nn.Module, states: Sequence[StateDict], path: str) -> None:
    """Raise RequestError where a file has what changes its weights. Without it they are another network's."""
    if any(_ADAPTERS.search(name) for name in model.state_dict()):
        return
    found = [
        name for state in states for name, v in state.tensors.items() if _ADAPTERS.search(name) and v.any()
    ]
    if found:
        raise RequestError(
            f"`pretraining.checkpoint` must hold weights that count alone, got {path!r} with adapters: "
            f"{listed(found, 3)}. Merge them into the weights (PEFT: `merge_and_unload()`) and save these."
        )


def _refuse_scaled(model: nn.Module, weights: Mapping[str, Tensor], path: str) -> None:
    """Raise RequestError where weights have fewer than 16 bits.

    They fill their type's range, and the scale that makes weights of them may be anywhere.
    """
    own = model.state_dict()
    small = [
        f"{n} in {str(value.dtype).removeprefix('torch.')}"
        for n, value in weights.items()
        if n in own and value.is_floating_point() and value.element_size() < _LEAST_BYTES
    ]
    if small:
        raise RequestError(
            f"`pretraining.checkpoint` must hold weights of 16 bits or more, got {path!r} with "
            f"{listed(small, 3)}, which count only by their scales. Multiply them by these and save that."
        )


def _refuse_larger(model: nn.Module, weights: Mapping[str, Tensor], path: str) -> None:
    """Raise RequestError where a file's network has layers that ours lacks.

    Without them it would be another network.
    """
    own = model.state_dict()
    layers = {name.rpartition(".")[0] for name in own if name.endswith(".weight")}
    modules = {".".join(name.split(".")[:end]) for name in own for end in range(1, name.count(".") + 1)}
    heads = head_modules(model)

    def is_missed(name: str, value: Tensor) -> bool:
        module, _, leaf = name.rpartition(".")
        decides = leaf in _OF_LAYERS or module in layers
        is_layer = decides and value.is_floating_point() and leaf not in _COUNTS
        if name in own or not is_layer or any(name.startswith(f"{head}.") for head in heads if head):
            return False
        parts = name.split(".")
        above = [".".join(parts[:end]) for end in range(1, len(parts))]
        inside = any(module in modules for module in above)
        return (inside or not _AUXILIARY.search(parts[0])) and bool(value.any())

    missed = [name for name, value in weights.items() if is_missed(name, value)]
    if missed:
        raise RequestError(
            f"`pretraining` must give weights of the network's architecture, got {path!r}, whose network "
            f"has more: {listed(missed, 3)}. Choose the architecture that it was saved from."
        )


def _mismatch(
    own: Mapping[str, Tensor], weights: Mapping[str, Tensor], refused: Sequence[str], source: str
) -> str:
    """Return what does not fit: the names that are wanted, and those or the sizes that are there."""
    of_size = [f"{n} ({_difference(weights[n], own[n])})" for n in refused if n in weights]
    absent = [name for name in refused if name not in weights]
    others = [name for name in weights if name not in own]
    has = f"; it has {listed(others, 3)}" if absent and others else ""
    return (
        "`pretraining` must give weights of the network's architecture, "
        f"got {source!r}, not fitting {listed([*of_size, *absent], 3)}{has}. Choose others."
    )


def _difference(found: Tensor, own: Tensor) -> str:
    if found.shape == own.shape:
        return f"in {str(found.dtype).removeprefix('torch.')}"
    return f"{_size(found)} for {_size(own)}"


def _size(value: Tensor) -> str:
    return "×".join(map(str, value.shape)) or "a number"


def _is_counter(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def _stem_of(own: Mapping[str, Tensor], new_stem: bool) -> list[str]:
    """Return the first convolution's weight, where it may be new."""
    return [name for name, value in own.items() if value.ndim == 4][:1] if new_stem else []


def _fitted(found: Tensor | None, own: Tensor) -> Tensor | None:
    """Return weights in the shape of the network's own, or None."""
    if found is None or (own.is_floating_point() and not found.is_floating_point()):
        return None
    if found.shape == own.shape:
        return found
    differs_in_inputs = own.ndim == found.ndim == 4 and own[:, 0].shape == found[:, 0].shape
    if differs_in_inputs and {own.shape[1], found.shape[1]} == {1, 3}:
        return adapt_input_channels(found.to(own.dtype), own.shape[1])  # before sums are rounded
    return None

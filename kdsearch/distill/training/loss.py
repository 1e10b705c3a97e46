"""The loss of a pack: each member's `alpha * term + (1 - alpha) * cross-entropy`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from kdsearch.distill.objectives import (
    ClosedForm,
    KDTargets,
    OwnTerm,
    PackTerm,
    at_least_float32,
    learned_temperature,
    pack_term,
    standardized,
    temperature_in,
    words_in,
)
from kdsearch.distill.views.batches import Batch, Chunk
from kdsearch.spec.sections import Objective

_PREPARED_AT_ONCE = 2**21  # classes times examples times members, by hand: a few arrays of 8 MB


@dataclass(frozen=True)
class EpochNumbers:
    """What an epoch changes of a loss: its number, from 1, also as a tensor, and the temperatures."""

    number: int
    as_tensor: Float[Tensor, ""]
    temperatures: Float[Tensor, " K"]


@dataclass(frozen=True)
class Targets:
    """What a batch is learned from: its labels, and the teacher's logits where a member needs them.

    `prepared` is all that the closed form of plain `kd` needs, where it holds.
    """

    batch: Batch
    teacher_logits: Float[Tensor, "B C"] | None
    epoch: EpochNumbers
    prepared: KDTargets | None = None

    def tensors(self) -> tuple[Tensor | None, ...]:
        """Return all that a built-in loss depends on, ordered for `of`."""
        batch, prepared = self.batch, self.prepared or (None,) * len(KDTargets._fields)
        return (
            *(batch.images, batch.labels, batch.partner_labels, batch.mix, self.teacher_logits),
            *(self.epoch.as_tensor, self.epoch.temperatures, *prepared[1:]),
        )

    @classmethod
    def of(cls, tensors: Sequence[Tensor | None]) -> "Targets":
        """Return the targets made of such tensors.

        They are not for a user's term, which takes the epoch's number.
        """
        images, labels, partner_labels, mix, teacher_logits, epoch, temperatures, *rest = tensors
        if images is None or labels is None or epoch is None or temperatures is None:
            raise TypeError("Targets have images, labels, an epoch and temperatures.")
        batch = Batch(images, labels, partner_labels, mix, labels)
        prepared = [value for value in rest if value is not None]
        ready = KDTargets(1 / len(labels), *prepared) if prepared else None
        return cls(batch, teacher_logits, EpochNumbers(0, epoch, temperatures), ready)


class PackLoss:
    """The losses of K members.

    Each has its own temperature, alpha and options, held as vectors [K]. Where images are mixed,
    cross-entropy mixes both labels, the teacher has seen the mixed image, and a term that depends on the
    target takes the label of the larger share.

    Args:
        objectives: The members' objectives; they differ in numbers alone.
        epochs: How long the training is, over which temperatures may move.
        device: Where the losses are computed.
        dtype: Of the members' numbers.
    """

    def __init__(
        self,
        objectives: Sequence[Objective],
        *,
        epochs: int = 1,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        def vector(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, device=device, dtype=dtype)

        first = objectives[0]
        numbers = {name: v for name, v in first.options.items() if not isinstance(v, str)}
        is_own = ":" in first.name
        self._own = [OwnTerm(o.name, o.options, device) for o in objectives] if is_own else []
        self._term = (
            PackTerm(self._looped) if is_own else pack_term(first.name, numbers, words_in(first.options))
        )
        self._temperature = vector([o.temperature for o in objectives])
        self._ratio, self._shape = vector([o.temperature_ratio for o in objectives]), first.temperature_shape
        self._moves, self._epochs = any(o.temperature_ratio != 1 for o in objectives), epochs
        self._alpha = vector([o.alpha for o in objectives])
        self._is_plain_kd = first.name == "kd" and not first.options
        self._closed_forms: dict[int, ClosedForm] = {}
        self._numbers: dict[int, EpochNumbers] = {}
        given = [{**self._term.defaults, **o.options} for o in objectives]
        names = (*self._term.defaults, *(name for name in self._term.optional if name in numbers))
        self._options = {name: vector([float(own[name]) for own in given]) for name in names}
        self._learned = {
            name: [value.clone().requires_grad_() for value in self._options.pop(name)]
            for name in self._term.learned
        }

    @property
    def needs_teacher(self) -> bool:
        """Whether any member weighs the distillation term at all."""
        return bool((self._alpha > 0).any())

    @property
    def is_recordable(self) -> bool:
        """Whether the losses depend on `Targets.tensors` alone. A user's term may do anything."""
        return not self._own

    def temperatures(self) -> Float[Tensor, " K"]:
        """Return each member's temperature at the end. A learned one is returned as it is now."""
        if "theta" in self._learned:
            return learned_temperature(torch.stack(self._learned["theta"]).detach())
        return self._temperatures_in(self._epochs)

    def softened(
        self, student_logits: Float[Tensor, "K N C"], teacher_logits: Float[Tensor, "N C"] | None
    ) -> tuple[Float[Tensor, "K N C"], Float[Tensor, "K N C"] | None]:
        """Return the logits of the soft distributions that the loss compares: students' and teacher's.

        They are divided by each member's temperatures, and standardised where the term does so; a user's own
        term is taken to divide both by the temperature.
        """
        ready = standardized if self._term.standardizes else torch.Tensor.double
        temperatures = self._temperatures_on(teacher_logits)
        own = self._options.get("student_temperature")
        of_student = temperatures if own is None else own.double()[:, None]
        student = ready(student_logits.double()) / of_student[..., None]
        if teacher_logits is None:
            return student, None
        return student, ready(teacher_logits.double()[None]) / temperatures[..., None]

    def _temperatures_on(self, teacher_logits: Float[Tensor, "N C"] | None) -> Tensor:
        """Return temperatures [K, 1 or N] on these examples. A rule is ignored where alpha is 0."""
        temperatures = self.temperatures().double()[:, None]
        if teacher_logits is None or self._term.rule is None:
            return temperatures
        options = {name: values.double() for name, values in self._options.items()}
        ruled = self._term.rule(teacher_logits.double()[None], **options)
        return torch.where(self._alpha[:, None] > 0, ruled, temperatures)

    def member_parameters(self) -> list[list[Tensor]]:
        """Return the parameters that each member learns beside its network's."""
        learned = [[values[k] for values in self._learned.values()] for k in range(len(self._alpha))]
        own = [term.parameters() for term in self._own] if self._own else [[] for _ in learned]
        return [values + more for values, more in zip(learned, own, strict=True)]

    def clear_gradients(self) -> None:
        """Clear the gradients of what members learn beside their networks."""
        for values in self.member_parameters():
            for value in values:
                value.grad = None

    @property
    def is_resumable(self) -> bool:
        """Whether `member_parameters` and `term_states` are enough to continue a training."""
        return all(term.is_resumable for term in self._own)

    def term_states(self) -> list[Any]:
        """Return the state of each member's own term."""
        return [term.state() for term in self._own]

    def load_term_states(self, states: Sequence[Any]) -> None:
        """Take over what `term_states` returned."""
        for term, state in zip(self._own, states, strict=True):
            term.load_state(state)

    def load_learned(self, values: Sequence[Sequence[Tensor]]) -> None:
        """Take over what members have learned, in the form of `member_parameters`."""
        with torch.no_grad():
            for own, saved in zip(self.member_parameters(), values, strict=True):
                for parameter, value in zip(own, saved, strict=True):
                    parameter.copy_(value)

    def keep(self, kept: Sequence[int]) -> None:
        """Go on with the kept members alone."""
        index = torch.tensor(kept, device=self._alpha.device)
        self._temperature, self._alpha = self._temperature[index], self._alpha[index]
        self._ratio = self._ratio[index]
        self._closed_forms.clear()
        self._numbers.clear()
        self._options = {name: values[index] for name, values in self._options.items()}
        self._learned = {name: [values[k] for k in kept] for name, values in self._learned.items()}
        self._own = [self._own[k] for k in kept] if self._own else []

    def targets(
        self, chunk: Chunk, teacher_logits: Float[Tensor, "N C"] | None, epoch: int
    ) -> Iterator[Targets]:
        """Yield each batch's targets, prepared for a whole chunk at once.

        Logits too many for that are prepared by batch.

        Args:
            chunk: The batches.
            teacher_logits: The teacher's logits on all of them; None where no member needs them.
            epoch: The epoch that they belong to.
        """
        sizes = [len(batch.labels) for batch in chunk.batches]
        logits: Sequence[Tensor | None] = [None] * len(sizes)
        if teacher_logits is not None:
            logits = torch.split(teacher_logits, sizes)
            if teacher_logits.numel() * len(self._alpha) > _PREPARED_AT_ONCE:
                yield from map(self.on, chunk.batches, logits, repeat(epoch))
                return
        prepared = self._prepared(chunk.whole, teacher_logits, sizes, epoch)
        for batch, own, ready in zip(chunk.batches, logits, prepared, strict=True):
            yield Targets(batch, own, self._numbers_in(epoch), ready)

    def on(self, batch: Batch, teacher_logits: Float[Tensor, "B C"] | None, epoch: int) -> Targets:
        """Return what one batch is learned from."""
        (prepared,) = self._prepared(batch, teacher_logits, [len(batch.labels)], epoch)
        return Targets(batch, teacher_logits, self._numbers_in(epoch), prepared)

    def __call__(
        self, targets: Targets, logits: Float[Tensor, "k B C"], members: slice = slice(None)
    ) -> tuple[Float[Tensor, " k"], Float[Tensor, "k B C"]]:
        """Return the losses for these logits and the gradients by them.

        `members` says whose logits they are. Gradients of learned temperatures are added to
        `member_parameters`.
        """
        wide = at_least_float32(logits)
        if targets.prepared is not None:
            whole = len(logits) == len(self._alpha)
            own = targets.prepared if whole else targets.prepared.members(members)
            losses, gradient = own.loss(wide)
            return losses, gradient.to(logits.dtype)
        leaf = wide.detach().requires_grad_()
        losses = self._losses(targets, leaf, members)
        torch.autograd.backward(losses.sum())
        gradient = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        return losses.detach(), gradient.to(logits.dtype)

    def _prepared(
        self, batch: Batch, teacher_logits: Tensor | None, sizes: Sequence[int], epoch: int
    ) -> Sequence[KDTargets | None]:
        """Return the targets of batches of these sizes. Each is None where the closed form does not hold."""
        if not self._is_plain_kd or teacher_logits is None or batch.mix is not None:
            return [None] * len(sizes)
        return self._closed_form(epoch).targets(at_least_float32(teacher_logits), batch.labels, sizes)

    def _closed_form(self, epoch: int) -> ClosedForm:
        """Return the closed form in an epoch: one for all of them where no temperature moves."""
        at = epoch if self._moves else 0
        if at not in self._closed_forms:
            self._closed_forms = {at: ClosedForm(self._temperatures_in(epoch), self._alpha)}
        return self._closed_forms[at]

    def _numbers_in(self, epoch: int) -> EpochNumbers:
        if epoch not in self._numbers:
            as_tensor = torch.full_like(self._alpha[0], epoch)
            self._numbers = {epoch: EpochNumbers(epoch, as_tensor, self._temperatures_in(epoch))}
        return self._numbers[epoch]

    def _temperatures_in(self, epoch: int) -> Float[Tensor, " K"]:
        return temperature_in(epoch, self._epochs, self._temperature, self._ratio, self._shape)

    def _losses(self, targets: Targets, logits: Tensor, members: slice) -> Float[Tensor, " k"]:
        supervised = _cross_entropy(logits, targets.batch)
        if targets.teacher_logits is None:
            return supervised
        alpha = self._alpha[members]
        teacher = targets.teacher_logits.to(logits.dtype).contiguous()  # a user's term may take a view
        distilled = self._term.term(
            logits,
            teacher[None],
            _dominant_labels(targets.batch),
            targets.epoch.temperatures[members],
            epoch=targets.epoch.number if self._own else targets.epoch.as_tensor,
            **({"members": members} if self._own else {}),
            **{name: values[members] for name, values in self._options.items()},
            **{name: torch.stack(values[members]) for name, values in self._learned.items()},
        )
        distilled = distilled if distilled.ndim == 1 else distilled.mean(1)
        return alpha * distilled + (1 - alpha) * supervised

    def _looped(
        self,
        student_logits: Float[Tensor, "k B C"],
        teacher_logits: Float[Tensor, "1 B C"],
        targets: Tensor,
        temperature: Float[Tensor, " k"],
        *,
        epoch: int,
        members: slice,
    ) -> Float[Tensor, " k"]:
        """Return the losses of users' own terms, one student after the other."""
        losses = [
            term(logits, teacher_logits[0], targets, at, epoch)
            for term, logits, at in zip(self._own[members], student_logits, temperature.tolist(), strict=True)
        ]
        return torch.stack(losses)


def _cross_entropy(logits: Float[Tensor, "k B C"], batch: Batch) -> Float[Tensor, " k"]:
    log_probabilities = F.log_softmax(logits, dim=-1)
    own = _at(log_probabilities, batch.labels)
    if batch.partner_labels is None or batch.mix is None:
        return -own.mean(1)
    partner = _at(log_probabilities, batch.partner_labels)
    return -(batch.mix * own + (1 - batch.mix) * partner).mean(1)


def _at(values: Float[Tensor, "k B C"], labels: Tensor) -> Float[Tensor, "k B"]:
    return values.gather(-1, labels[None, :, None].expand(values.shape[0], -1, 1)).squeeze(-1)


def _dominant_labels(batch: Batch) -> Tensor:
    if batch.partner_labels is None or batch.mix is None:
        return batch.labels
    return torch.where(batch.mix >= 0.5, batch.labels, batch.partner_labels)

"""Texts through the engine: what a factory gives, what a network is called with, and what is learned."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kdsearch.distill.data.dataset import load_dataset
from kdsearch.distill.execution.dropout import KeyedDropout, key_dropout
from kdsearch.distill.teachers.initial_students import initial_student
from kdsearch.distill.teachers.made import ensure_teacher, load_teacher, recipe_of
from kdsearch.distill.training.kept import split_views_of
from kdsearch.distill.training.train_pack import train_pack
from kdsearch.errors import RequestError
from kdsearch.spec import TrainingSpec

CPU = torch.device("cpu")
LENGTH, WORDS, PAD = 6, 20, 0
TOLERANCE = 3e-5  # as tests/distill/training/test_own_loop.py has it, where its reason is


def texts(n=144, n_train=112, length=LENGTH):
    """Give texts of 2 to 6 words, one the class's own.

    What is behind padding is noise.
    """
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 3
    ids = rng.integers(5, WORDS, (n, length))
    ids[np.arange(n), rng.integers(0, 2, n)] = 1 + labels
    mask = (np.arange(length) < rng.integers(2, length + 1, (n, 1))).astype(int)
    ids = np.where(mask == 1, ids, rng.integers(PAD, 5, (n, length)))
    parts = (slice(None, n_train), slice(n_train, None))
    return tuple(({"input_ids": ids[p], "attention_mask": mask[p]}, labels[p]) for p in parts)


class Averaging(nn.Module):
    """The mean of the words' vectors, then a hidden layer.

    Padding is left out.
    """

    def __init__(self, num_classes, vocab_size, max_length, width=8):
        super().__init__()
        self.words = nn.Embedding(vocab_size, width)
        self.places = nn.Embedding(max_length, width)
        self.hidden = nn.Linear(width, 2 * width)
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(2 * width, num_classes)

    def forward(self, input_ids, attention_mask):
        place = torch.arange(input_ids.shape[1], device=input_ids.device)
        vectors = (self.words(input_ids) + self.places(place)) * attention_mask[..., None]
        mean = vectors.sum(1) / attention_mask.sum(1, keepdim=True)
        return self.fc(self.dropout(torch.tanh(self.hidden(mean))))


def larger(num_classes, vocab_size, max_length):
    return Averaging(num_classes, vocab_size, max_length, width=16)


def spec(**sections):
    base = {
        "dataset": {"name": f"{__name__}:texts", "kind": "text", "train_size": 64, "validation_size": 48},
        "student": {"arch": f"{__name__}:Averaging"},
        "teacher": {"arch": f"{__name__}:larger", "finetune": {"epochs": 3, "batch_size": 16}},
        "objective": {"name": "kd", "temperature": 3.0, "alpha": 0.7},
        "optimizer": {"name": "adamw", "lr": 0.02},
        "training": {"epochs": 2, "batch_size": 24},
    }
    return TrainingSpec.model_validate({k: base.get(k, {}) | sections.get(k, {}) for k in {*base, *sections}})


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    return tmp_path_factory.mktemp("artifacts")


def plain_loop(asked, seed, artifacts):
    """Train one student by torch's own parts.

    It learns from what the factory gives; each epoch's losses are returned.
    """
    place, training = split_views_of(asked, CPU), asked.training
    data = place.data
    student = initial_student(asked, seed, data=data, artifacts=artifacts, device=CPU)
    key_dropout(student, seed)
    teacher = load_teacher(ensure_teacher(recipe_of(asked), artifacts))
    optimizer = torch.optim.AdamW(
        student.parameters(), lr=asked.optimizer.lr, weight_decay=5e-4, foreach=False
    )
    ids, mask = data.train.images.long().unbind(1)
    n_steps = training.epochs * math.ceil(len(ids) / training.batch_size)
    at, alpha, step, found = asked.objective.temperature, asked.objective.alpha, 0, []
    for epoch in range(1, training.epochs + 1):
        losses = []
        student.train()
        for index in place.views.order(training.order_seed, epoch).split(training.batch_size):
            for module in student.modules():
                if isinstance(module, KeyedDropout):
                    module.begin(step)
            logits = plainly(student, ids[index], mask[index])
            with torch.no_grad():
                taught = plainly(teacher, ids[index], mask[index])
            soft = F.kl_div((logits / at).log_softmax(1), (taught / at).softmax(1), reduction="batchmean")
            loss = alpha * at**2 * soft + (1 - alpha) * F.cross_entropy(logits, data.train.labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.param_groups[0]["lr"] = (
                asked.optimizer.lr * (1 + math.cos(math.pi * step / n_steps)) / 2
            )
            optimizer.step()
            losses.append((float(loss.detach()), len(index)))
            step += 1
        ids_v, mask_v = data.validation.images.long().unbind(1)
        with torch.no_grad():
            val_loss = F.cross_entropy(plainly(student.eval(), ids_v, mask_v), data.validation.labels)
        found.append((sum(one * n for one, n in losses) / sum(n for _, n in losses), float(val_loss)))
    return found


def plainly(model, ids, mask):
    """Call a network's own forward pass.

    It goes past all that the engine has put around it.
    """
    return type(model).forward(model, ids, attention_mask=mask)


def test_a_pack_on_texts_trains_as_the_plain_loop(artifacts):
    asked, curves = spec(), {0: [], 1: []}

    def report(epoch, metrics):
        for number, own in metrics.items():
            curves[number].append((own["train_loss"], own["val_loss"]))
        return ()

    members = [{"number": k, "seed": 3 + k, "objective.temperature": 2.0 + 3 * k} for k in range(2)]
    found = train_pack(
        asked, members, artifacts=artifacts, report=report, soft_target_cap_bytes=0, device="cpu"
    )
    assert [result.executor for result in found] == ["looped", "looped"]
    for member in members:
        one = asked.with_values({"objective.temperature": member["objective.temperature"]})
        expected = plain_loop(one, member["seed"], artifacts)
        assert curves[member["number"]] == [pytest.approx(own, rel=TOLERANCE) for own in expected]


def test_stored_logits_teach_texts_as_live_ones_do(artifacts):
    """The student learns the same from stored logits, but for 16 bits."""
    losses = [
        train_pack(spec(), [{"seed": 0}], artifacts=artifacts, device="cpu", **cap)[0].metrics["train_loss"]
        for cap in ({}, {"soft_target_cap_bytes": 0})
    ]
    assert losses[0] == pytest.approx(losses[1], rel=2e-3)
    assert any((artifacts / "soft_targets").rglob("seed*"))


def test_a_text_teacher_learns_and_reads_no_padding(artifacts):
    finetune = {"epochs": 30, "batch_size": 16, "optimizer": "adamw", "lr": 0.02}
    record = ensure_teacher(
        recipe_of(spec(teacher={"arch": f"{__name__}:larger", "finetune": finetune})), artifacts
    )
    assert record.val_accuracy > 0.8
    assert record.vocabulary == WORDS
    teacher = load_teacher(record)
    tokens = load_dataset(spec().dataset).test.images[:8].long()
    other = tokens.clone()
    other[:, 0][tokens[:, 1] == 0] = 7
    torch.testing.assert_close(teacher(tokens), teacher(other))


def pairs():
    return tuple(
        ({**encoding, "token_type_ids": np.arange(LENGTH) // 3 * np.ones_like(encoding["input_ids"])}, labels)
        for encoding, labels in texts()
    )


class Segments(Averaging):
    def forward(self, input_ids, attention_mask, token_type_ids):
        return super().forward(input_ids + token_type_ids.clamp(max=0), attention_mask) + token_type_ids.sum()


def test_segments_reach_a_network_where_texts_have_several(artifacts):
    data = load_dataset(
        spec(dataset={"name": f"{__name__}:pairs"}).dataset.model_copy(update={"kind": "text"})
    )
    assert data.train.images[0, 2].tolist() == [0, 0, 0, 1, 1, 1]
    assert load_dataset(spec().dataset).in_channels == 2


class Items:
    """A data set of mappings, as `datasets` and torch give them."""

    classes = ("a", "b", "c")

    def __init__(self, encoding, labels):
        self.encoding, self.labels = encoding, labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        row = {name: torch.tensor(rows[index]) for name, rows in self.encoding.items()}
        return {**row, "label": int(self.labels[index]), "text": "left alone"}


def as_items():
    return tuple(Items(*part) for part in texts())


def as_one_mapping():
    return tuple({**encoding, "labels": labels} for encoding, labels in texts())


@pytest.mark.parametrize("form", [as_items, as_one_mapping])
def test_the_forms_that_tokenizers_give_are_one(form):
    expected, found = (
        load_dataset(spec(dataset={"name": f"{__name__}:{name}"} | KIND).dataset)
        for name in ("texts", form.__name__)
    )
    assert torch.equal(expected.train.images, found.train.images)
    assert torch.equal(expected.train.labels, found.train.labels)
    assert found.classes == (("a", "b", "c") if form is as_items else ("0", "1", "2"))


KIND = {"kind": "text", "train_size": 64, "validation_size": 48}


def without_mask():
    (encoding, labels), test = texts()
    return ({"input_ids": encoding["input_ids"]}, labels), test


def ragged():
    (encoding, labels), test = texts()
    return (
        {name: [row[: 2 + k % 3].tolist() for k, row in enumerate(rows)] for name, rows in encoding.items()},
        labels,
    ), test


def of_two_lengths():
    return texts()[0], texts(length=LENGTH + 1)[1]


def all_padding():
    (encoding, labels), test = texts()
    return ({**encoding, "attention_mask": np.zeros_like(encoding["attention_mask"])}, labels), test


def of_images():
    return (np.zeros((4, 8, 8), np.uint8), [0, 1, 0, 1]), None


@pytest.mark.parametrize(
    ("factory", "says"),
    [
        (without_mask, "must give `attention_mask`, got input_ids"),
        (ragged, "must give `input_ids` of one length"),
        (of_two_lengths, "one length in both parts, got 6 and 7 tokens"),
        (all_padding, "with a token in each text, got values up to 0 and 112"),
        (of_images, "an encoding|encoding a mapping with input_ids"),
    ],
)
def test_what_is_no_text_is_refused_by_name(factory, says):
    with pytest.raises(RequestError, match=says):
        load_dataset(spec(dataset={"name": f"{__name__}:{factory.__name__}"} | KIND).dataset)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"augment": {"flip": True}}, "no `augment` beside `dataset.kind: text`"),
        ({"student": {"arch": "convnet_8"}}, "as `student.arch` beside `dataset.kind: text`"),
        ({"dataset": {"name": "digits", "kind": "text"}}, "package.module:factory beside `kind: text`"),
        ({"dataset": {"name": "a:b", "kind": "text", "image_size": 8}}, "no `image_size`"),
    ],
)
def test_what_is_of_images_alone_is_refused_beside_texts(change, says):
    with pytest.raises(ValueError, match=says):
        spec(**change)


def test_a_network_that_can_not_take_texts_is_named(artifacts):
    with pytest.raises(RequestError, match="network for texts of 6 tokens of a vocabulary of 20"):
        train_pack(spec(student={"arch": f"{__name__}:Segments"}), [{"seed": 0}], artifacts=artifacts)


def test_only_a_loop_trains_texts(artifacts):
    with pytest.raises(RequestError, match=r"one student after the other.*Take 'looped'"):
        train_pack(spec(), [{"seed": 0}, {"seed": 1, "number": 1}], artifacts=artifacts, way="fused")

import logging
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
import torch
import torch.nn.functional as F

from kdsearch.distill.data.dataset import load_dataset
from kdsearch.distill.teachers.soft_targets import (
    HeldLogits,
    SoftTargetStore,
    StreamedLogits,
    TargetsKey,
    soft_target_bytes,
    view_fingerprint,
)
from kdsearch.spec import TrainingSpec

N, C = 40, 10  # unlike each other, so that no axis passes for another
KEY = TargetsKey("t" * 64, "v" * 64, 0, (N, C))
FILE_BYTES = N * C * 2 + N * 4 + 32  # and a digest


def logits(seed=0, scale=4.0):
    return torch.randn(N, C, generator=torch.Generator().manual_seed(seed)) * scale


def all_of(stored):
    return stored.at(torch.arange(len(stored.maxima)))


def never():
    raise AssertionError("the logits were computed again")


def test_logits_are_computed_once(tmp_path):
    first = SoftTargetStore(tmp_path).get(KEY, 1, logits)
    again = SoftTargetStore(tmp_path).get(KEY, 1, never)
    assert torch.equal(all_of(first), all_of(again))
    assert first.centred.dtype == torch.float16


def test_the_stored_logits_are_the_teachers_own_not_shifted(tmp_path):
    true = logits(5) + torch.arange(N)[:, None] * 100.0
    index = torch.tensor([3, 0, 2])
    torch.testing.assert_close(
        SoftTargetStore(tmp_path).get(KEY, 1, lambda: true).at(index), true[index], rtol=0, atol=2e-2
    )


def test_logits_on_the_host_are_those_on_the_device_to_the_bit(tmp_path):
    stored = SoftTargetStore(tmp_path).get(KEY, 1, logits)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    held, streamed = HeldLogits(stored, order), StreamedLogits(stored, order, torch.device("cpu"))
    for start, stop in ((0, 16), (16, 32), (32, N)):
        mine, theirs = held.part(start, stop), streamed.part(start, stop)
        assert torch.equal(mine, theirs)
        assert torch.equal(mine, stored.at(order[start:stop]))
        assert theirs.T.is_contiguous()  # each class's side by side, as losses read them
    assert held.nbytes == N * C * 4
    assert streamed.nbytes == N * C * 2 + N * 4


@pytest.mark.parametrize("other", ["teacher", "views", "view_seed"])
def test_what_decides_the_logits_keeps_them_apart(tmp_path, other):
    store = SoftTargetStore(tmp_path)
    store.get(KEY, 1, logits)
    changed = {"view_seed": 1} if other == "view_seed" else {other: "x" * 64}
    found = store.get(TargetsKey(**{**KEY.__dict__, **changed}), 1, lambda: logits(1))
    assert not torch.equal(all_of(found), all_of(store.get(KEY, 1, never)))
    assert not torch.equal(all_of(store.get(KEY, 2, lambda: logits(2))), all_of(store.get(KEY, 1, never)))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float16", 1e-3)])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 40.0])
def test_the_gradient_is_the_live_teachers_within_the_stored_type(tmp_path, dtype, temperature, tolerance):
    teacher, student = logits(3, scale=8.0) + 30.0, logits(4)
    stored = all_of(SoftTargetStore(tmp_path, dtype=dtype).get(KEY, 1, lambda: teacher))
    gradients = []
    for targets in (teacher, stored):
        own = student.clone().requires_grad_()
        soft = F.softmax(targets / temperature, 1)
        F.kl_div(F.log_softmax(own / temperature, 1), soft, reduction="batchmean").backward()
        gradients.append(own.grad)
    assert (gradients[0] - gradients[1]).norm() <= tolerance * gradients[0].norm()


def test_extreme_logits_stay_finite(tmp_path):
    extreme = torch.tensor([[1e6, 0.0], [0.0, 0.0]])
    found = SoftTargetStore(tmp_path).get(TargetsKey("t", "v", 0, (2, 2)), 1, lambda: extreme)
    assert all_of(found).isfinite().all()


@pytest.mark.parametrize("damage", ["cut short", "from before digests", "a bit flipped"])
def test_a_damaged_file_is_told_and_made_again(tmp_path, damage, caplog):
    store = SoftTargetStore(tmp_path)
    store.get(KEY, 1, logits)
    (path,) = (p for p in tmp_path.rglob("*") if p.is_file())
    expected = all_of(store.get(KEY, 1, logits))
    content = bytearray(path.read_bytes())
    content[N * C] ^= 1
    damaged = {"cut short": content[:-2], "from before digests": content[:-32], "a bit flipped": content}
    path.write_bytes(damaged[damage])
    assert torch.equal(all_of(store.get(KEY, 1, logits)), expected)
    assert torch.equal(all_of(store.get(KEY, 1, never)), expected)
    assert (f"{path} is damaged" in caplog.text) == (damage == "a bit flipped")


def test_the_cap_removes_what_was_unused_for_longest(tmp_path):
    store = SoftTargetStore(tmp_path, cap_bytes=3 * FILE_BYTES)
    for epoch in (1, 2, 3):
        store.get(KEY, epoch, logits)
    for age, path in enumerate(sorted(p for p in tmp_path.rglob("*") if p.is_file())):
        os.utime(path, (1000 + age, 1000 + age))
    store.get(KEY, 1, never)
    store.get(KEY, 4, logits)
    assert store.size_bytes() == 3 * FILE_BYTES
    for kept in (1, 3, 4):
        store.get(KEY, kept, never)
    with pytest.raises(AssertionError):
        store.get(KEY, 2, never)


def test_the_size_is_said_before_anything_is_written(tmp_path, caplog):
    caplog.set_level(logging.INFO, "kdsearch")
    assert soft_target_bytes((50_000, 100), 200) == 2_040_006_400
    assert SoftTargetStore(tmp_path, cap_bytes=10 * FILE_BYTES).has_room_for(KEY, 10)
    assert not SoftTargetStore(tmp_path, cap_bytes=10 * FILE_BYTES).has_room_for(KEY, 11)
    assert "10 epochs, 0.0 MB" in caplog.messages[0]
    assert "not stored" in caplog.messages[1]
    assert not list(tmp_path.iterdir())


def fill(folder):
    store = SoftTargetStore(folder)
    return [all_of(store.get(KEY, epoch, lambda e=epoch: logits(e))) for epoch in range(8)]


def test_processes_may_race(tmp_path):
    with ProcessPoolExecutor(3, mp_context=get_context("fork")) as pool:
        found = list(pool.map(fill, [tmp_path] * 3))
    for epochs in zip(*found, strict=True):
        assert all(torch.equal(epochs[0], other) for other in epochs[1:])
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert {p.stat().st_size for p in files} == {FILE_BYTES}
    assert len(files) == 8


def test_the_fingerprint_follows_data_and_augmentation_but_no_path():
    def fingerprint(**sections):
        spec = TrainingSpec.model_validate(sections)
        return view_fingerprint(spec, load_dataset(spec.dataset))

    small = {"name": "digits", "train_size": 50, "validation_size": 50}
    base = fingerprint(dataset=small)
    assert fingerprint(dataset={**small, "root": "/elsewhere"}, training={"batch_size": 7}) == base
    others = [
        fingerprint(dataset={**small, "train_size": 60}),
        fingerprint(dataset={**small, "split_seed": 1}),
        fingerprint(dataset=small, augment={"crop_padding": 1}),
    ]
    assert len({base, *others}) == 4

import json
import math
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kdsearch.distill.data.dataset import load_dataset
from kdsearch.distill.models import build_model
from kdsearch.distill.randomness import stream
from kdsearch.distill.teachers import supervised
from kdsearch.distill.teachers.made import (
    TeacherRecord,
    ensure_teacher,
    load_teacher,
    load_weights_of,
    recipe_of,
)
from kdsearch.distill.teachers.supervised import SupervisedTraining
from kdsearch.distill.views.batches import Views
from kdsearch.errors import RequestError, RunError
from kdsearch.spec import TrainingSpec
from kdsearch.spec.sections import Augment

BASE = {
    "dataset": {"name": "digits", "train_size": 200, "validation_size": 100},
    "augment": {"crop_padding": 1},
}


def recipe(dataset=(), **teacher):
    teacher = {"arch": "convnet_8_16", **teacher}
    document = {**BASE, "dataset": {**BASE["dataset"], **dict(dataset)}, "teacher": teacher}
    return recipe_of(TrainingSpec.model_validate(document))


def same_weights(first, second):
    pair = load_weights_of(first), load_weights_of(second)
    return all(torch.equal(value, pair[1][name]) for name, value in pair[0].items())


@pytest.fixture
def trained_epochs(monkeypatch):
    """The epochs that were trained, in their order."""
    epochs = []
    original = SupervisedTraining._epoch

    def spy(self, epoch, *others):
        epochs.append(epoch)
        original(self, epoch, *others)

    monkeypatch.setattr(SupervisedTraining, "_epoch", spy)
    return epochs


def test_a_teacher_learns_and_its_record_tells_how_well(tmp_path):
    record = ensure_teacher(recipe(arch="convnet_16_32", finetune={"epochs": 20}), tmp_path)
    assert record.val_accuracy > 0.7
    data = load_dataset(recipe().dataset)
    views = Views(data.validation, Augment(), data.mean, data.std)
    with torch.no_grad():
        logits = load_teacher(record)(views.plain(torch.arange(100))).double().numpy()
    hits = logits.argmax(1) == data.validation.labels.numpy()
    assert record.val_accuracy == pytest.approx(hits.mean())
    assert record.n_parameters == 9 * 16 + 2 * 16 + 9 * 16 * 32 + 2 * 32 + 33 * 10
    assert list(record.entropy) == ["1", "2", "4", "8", "16", "40"]
    assert np.all(np.diff(list(record.entropy.values())) > 0)
    assert record.relative_entropy["4"] == pytest.approx(record.entropy["4"] / math.log(10))
    stored = json.loads((Path(record.path) / "record.json").read_text())
    assert TeacherRecord.from_dict({**stored, "path": record.path}) == record


def test_a_loaded_teacher_is_frozen_and_in_evaluation_mode(tmp_path):
    record = ensure_teacher(recipe(finetune={"epochs": 1}), tmp_path)
    for teacher in (load_teacher(record), load_teacher(record.digest, tmp_path)):
        assert not teacher.training
        assert not any(parameter.requires_grad for parameter in teacher.parameters())
    with pytest.raises(RequestError, match="must be the digest of a teacher"):
        load_teacher("0123", tmp_path)


def test_a_teacher_is_trained_once(tmp_path, trained_epochs):
    first = ensure_teacher(recipe(finetune={"epochs": 2}), tmp_path)
    assert ensure_teacher(recipe(finetune={"epochs": 2}), tmp_path) == first
    assert trained_epochs == [1, 2]


def test_a_recipe_gives_the_same_teacher_whatever_the_global_seed(tmp_path):
    records = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        asked = recipe(arch="torchvision:mobilenet_v3_small", finetune={"epochs": 1})
        records.append(ensure_teacher(asked, tmp_path / str(seed)))
        assert torch.equal(torch.get_rng_state(), before)
    assert same_weights(*records)


def _ask(folder, log, barrier, records):
    original = SupervisedTraining.train

    def logged(self):
        with open(log, "a") as file:
            file.write("trained\n")
        original(self)

    SupervisedTraining.train = logged
    barrier.wait(timeout=120)
    records.put(ensure_teacher(recipe(finetune={"epochs": 3}), Path(folder)).to_dict())


@pytest.mark.slow
def test_processes_that_ask_at_once_train_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier, records, log = context.Barrier(2), context.Queue(), tmp_path / "log"
    arguments = (str(tmp_path), str(log), barrier, records)
    processes = [context.Process(target=_ask, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    first, second = (records.get(timeout=120) for _ in processes)
    for process in processes:
        process.join(timeout=60)
    records.close()
    assert first == second
    assert log.read_text() == "trained\n"


def test_a_longer_training_continues_a_shorter_one_where_the_schedule_is_constant(tmp_path, trained_epochs):
    def asked(epochs):
        return recipe(finetune={"epochs": epochs, "schedule": "constant", "optimizer": "adamw", "lr": 1e-3})

    ensure_teacher(asked(2), tmp_path / "a")
    continued = ensure_teacher(asked(4), tmp_path / "a")
    assert trained_epochs == [1, 2, 3, 4]
    assert same_weights(continued, ensure_teacher(asked(4), tmp_path / "b"))


def test_no_training_at_all_leaves_the_start(tmp_path, trained_epochs):
    start = build_model("convnet_8_16", 10, 1, image_size=8, generator=stream(5, "start"))
    torch.save(start.state_dict(), tmp_path / "start.pt")
    pretraining = {"checkpoint": str(tmp_path / "start.pt")}
    record = ensure_teacher(recipe(pretraining=pretraining, finetune={"epochs": 0}), tmp_path)
    assert trained_epochs == []
    for name, value in start.state_dict().items():
        assert torch.equal(load_weights_of(record)[name], value)


def test_a_teacher_whose_classes_are_in_another_order_is_refused(tmp_path):
    trained = load_weights_of(ensure_teacher(recipe(arch="convnet_16_32", finetune={"epochs": 20}), tmp_path))

    def given(order):
        file = tmp_path / f"{order}.pt"
        torch.save({n: v[order] if n.startswith("fc.") else v for n, v in trained.items()}, file)
        return recipe(arch="convnet_16_32", pretraining={"checkpoint": str(file)}, finetune={"epochs": 0})

    for order in ([0, 1, 2, 3, 6, 5, 4, 7, 8, 9], [9, 0, 1, 2, 3, 4, 5, 6, 7, 8]):
        with pytest.raises(RequestError, match=r"`teacher.pretraining` must .* data's order, got .* of '"):
            ensure_teacher(given(order), tmp_path)
    assert ensure_teacher(given(list(range(10))), tmp_path).train_accuracy > 0.5


def test_a_teacher_that_only_guesses_is_told(tmp_path, caplog):
    state = build_model("convnet_8_16", 10, 1, image_size=8, generator=stream(5, "start")).state_dict()
    torch.save({**state, "fc.weight": torch.zeros_like(state["fc.weight"])}, tmp_path / "net.pt")
    given = {"pretraining": {"checkpoint": str(tmp_path / "net.pt")}, "finetune": {"epochs": 0}}
    ensure_teacher(recipe(**given), tmp_path)
    assert "no more than a guess of the commonest class" in caplog.text
    caplog.clear()
    ensure_teacher(recipe(finetune={"epochs": 10}), tmp_path)
    assert "guess" not in caplog.text


def test_a_head_is_trained_on_the_frozen_body(tmp_path):
    learnt = ensure_teacher(recipe(arch="convnet_16_32", finetune={"epochs": 20}), tmp_path)
    body = {**load_weights_of(learnt), "fc.weight": torch.zeros(10, 32), "fc.bias": torch.zeros(10)}
    torch.save(body, tmp_path / "body.pt")
    pretraining = {"checkpoint": str(tmp_path / "body.pt")}
    untrained, trained = (
        ensure_teacher(
            recipe(
                arch="convnet_16_32",
                seed=1,
                pretraining=pretraining,
                finetune={"epochs": 0, "head_epochs": epochs, "lr": 0.5},
            ),
            tmp_path,
        )
        for epochs in (0, 10)
    )
    weights = load_weights_of(trained)
    for name in ("convs.1.weight", "norms.0.weight", "norms.1.running_mean"):
        assert torch.equal(weights[name], body[name])
    assert trained.val_accuracy > untrained.val_accuracy + 0.4


SEEN = []


def noting(groups):
    """Note the weights that an optimizer is made for."""
    SEEN.append([parameter.detach().clone() for group in groups for parameter in group["params"]])
    return torch.optim.SGD(groups)


def test_an_optimizer_is_made_for_the_weights_that_it_begins_with(tmp_path):
    SEEN.clear()
    start = build_model("convnet_8_16", 10, 1, image_size=8, generator=stream(5, "start"))
    torch.save(start.state_dict(), tmp_path / "start.pt")
    ensure_teacher(
        recipe(
            pretraining={"checkpoint": str(tmp_path / "start.pt")},
            finetune={"epochs": 1, "optimizer": f"{__name__}:noting"},
        ),
        tmp_path,
    )
    assert all(torch.equal(own, given) for own, given in zip(SEEN[-1], start.parameters(), strict=True))


def test_label_smoothing_softens_the_targets(tmp_path):
    plain, smooth = (
        ensure_teacher(
            recipe(arch="convnet_16_32", finetune={"epochs": 15, "label_smoothing": share}), tmp_path
        )
        for share in (0.0, 0.3)
    )
    assert smooth.entropy["1"] > plain.entropy["1"] + 0.1


def stripes():
    """Grey pictures of 10 × 10 pixels: stripes of three directions."""
    rng = np.random.default_rng(0)
    labels = np.arange(150) % 3
    rows, columns = np.mgrid[:10, :10]
    patterns = np.stack([rows, columns, rows + columns]) % 4 < 2
    images = patterns[labels] * 180 + rng.integers(0, 70, (150, 10, 10))
    return (images.astype(np.uint8), labels), None


def test_pretraining_on_another_data_set_is_done_once(tmp_path, trained_epochs):
    pretraining = {"dataset": f"{__name__}:stripes", "epochs": 3}
    records = [
        ensure_teacher(recipe(pretraining=pretraining, finetune=finetune), tmp_path)
        for finetune in ({"epochs": 0, "head_epochs": 1}, {"epochs": 2})
    ]
    assert trained_epochs == [1, 2, 3, 1, 1, 2]  # the body, the head alone, then all
    (pretrained,) = {p.name for p in (tmp_path / "teachers").iterdir() if p.is_dir()} - {
        record.digest for record in records
    }
    body, start = load_weights_of(ensure_record(tmp_path, pretrained)), load_weights_of(records[0])
    assert torch.equal(body["convs.1.weight"], start["convs.1.weight"])
    assert start["fc.weight"].shape == (10, 16)


def ensure_record(artifacts, digest):
    folder = artifacts / "teachers" / digest
    return TeacherRecord.from_dict({**json.loads((folder / "record.json").read_text()), "path": str(folder)})


def test_mixed_views_are_learnt_with_both_labels(tmp_path):
    document = {**BASE, "augment": {"mixup": 0.4, "cutmix": 0.4}, "teacher": {"finetune": {"epochs": 8}}}
    record = ensure_teacher(recipe_of(TrainingSpec.model_validate(document)), tmp_path)
    assert record.val_accuracy > 0.6


def test_a_diverged_training_says_so_and_leaves_nothing(tmp_path):
    with pytest.raises(
        RunError, match=r"in epoch \d+ at a learning rate of 1e\+30. Lower `teacher.finetune.lr`"
    ):
        ensure_teacher(recipe(arch="mlp_8", finetune={"epochs": 4, "lr": 1e30}), tmp_path)
    assert [path.suffix for path in (tmp_path / "teachers").iterdir()] == [".lock"]


def out_of_memory(*_):
    raise torch.OutOfMemoryError("CUDA out of memory")


def scalar_network(num_classes):
    return torch.nn.Flatten()


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ({"arch": f"{__name__}:scalar_network"}, "`teacher.arch` must give one logit for each"),
        ({"arch": "resnet8", "stem": "small"}, "`teacher.stem` must be standard"),
        (
            {"pretraining": {"checkpoint": "nowhere.pt"}},
            "`teacher.pretraining.checkpoint` must be a readable",
        ),
        ({"pretraining": {"weights": "V1"}}, "`teacher.pretraining.weights` must go with"),
        ({"finetune": {"optimizer": "no.module:factory"}}, "`teacher.finetune.optimizer` must be importable"),
        ({"finetune": {"schedule": "no.module:factory"}}, "`teacher.finetune.schedule` must be importable"),
        (
            {"pretraining": {"dataset": "no.module:factory", "epochs": 1}},
            "`teacher.pretraining.dataset` must be importable",
        ),
        (
            {"pretraining": {"dataset": "CIFAR10", "epochs": 1, "root": "/nowhere"}},
            "`teacher.pretraining.root` must hold the files of CIFAR10, got '/nowhere'",
        ),
        (
            {"arch": "mlp_8", "pretraining": {"dataset": f"{__name__}:stripes", "epochs": 2, "lr": 1e30}},
            r"diverged in epoch 1 at a learning rate of 1e\+30. Lower `teacher.pretraining.lr`",
        ),
        (
            {
                "pretraining": {
                    "dataset": f"{__name__}:stripes",
                    "epochs": 2,
                    "optimizer": "no.module:factory",
                }
            },
            "`teacher.pretraining.optimizer` must be importable",
        ),
    ],
)
def test_an_error_names_the_path_of_what_is_wrong(tmp_path, teacher, message):
    with pytest.raises((RequestError, RunError), match=message):
        ensure_teacher(recipe(**teacher), tmp_path)


def test_a_batch_too_large_for_memory_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(supervised, "_trained", out_of_memory)
    with pytest.raises(
        RunError, match=r"`teacher\.finetune\.batch_size` must be small enough for cpu, got 50"
    ):
        ensure_teacher(recipe(), tmp_path)


def test_a_pretraining_is_trained_as_it_says(tmp_path, monkeypatch):
    seen = []
    original = SupervisedTraining.train
    monkeypatch.setattr(
        SupervisedTraining, "train", lambda self: seen.append(self.finetune) or original(self)
    )
    said = {"optimizer": "adamw", "lr": 0.002, "weight_decay": 0.1, "batch_size": 32, "schedule": "constant"}
    pretraining = {"dataset": f"{__name__}:stripes", "epochs": 1, **said}
    ensure_teacher(recipe(pretraining=pretraining, finetune={"epochs": 1}), tmp_path)
    assert seen[0].model_dump(include=set(said)) == said
    assert seen[1] == recipe(finetune={"epochs": 1}).teacher.finetune


def test_a_pretraining_has_a_root_of_its_own(tmp_path):
    folder = tmp_path / "shapes"
    for label, name in enumerate(("bright", "dark")):
        (folder / name).mkdir(parents=True)
        for number in range(10):
            Image.new("L", (16, 16), 200 - 150 * label).save(folder / name / f"{number}.png")
    asked = recipe(
        pretraining={"dataset": "imagefolder", "epochs": 1, "root": str(folder)}, finetune={"epochs": 1}
    )
    ensure_teacher(asked, tmp_path / "artifacts")
    assert len([path for path in (tmp_path / "artifacts" / "teachers").iterdir() if path.is_dir()]) == 2


@pytest.mark.parametrize("file", ["record.json", "weights.pt", "digests.json"])
def test_a_teacher_with_a_flipped_bit_is_told_and_made_again(tmp_path, file, caplog):
    asked = recipe(finetune={"epochs": 1})
    weights = load_weights_of(ensure_teacher(asked, tmp_path))
    path = tmp_path / "teachers" / asked.digest / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    found = load_weights_of(ensure_teacher(asked, tmp_path))
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    assert f"{path.parent} is damaged, and is made again: {file} is not what was written" in caplog.text


@pytest.mark.parametrize("is_damaged", [False, True])
def test_a_teacher_from_before_digests_is_checked_by_its_files_checksums(tmp_path, is_damaged, caplog):
    asked = recipe(finetune={"epochs": 1})
    ensure_teacher(asked, tmp_path)
    folder = tmp_path / "teachers" / asked.digest
    (folder / "digests.json").unlink()
    if is_damaged:
        content = bytearray((folder / "weights.pt").read_bytes())
        content[len(content) // 2] ^= 1
        (folder / "weights.pt").write_bytes(content)
    before = (folder / "record.json").stat().st_mtime_ns
    ensure_teacher(asked, tmp_path)
    assert ((folder / "record.json").stat().st_mtime_ns != before) == is_damaged == ("damaged" in caplog.text)
    assert (folder / "digests.json").exists()


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, small_files):
    asked = recipe(finetune={"epochs": 1})
    with small_files(1000), pytest.raises(RunError, match=r"Free space there or name another folder"):
        ensure_teacher(asked, tmp_path)
    assert [path for path in (tmp_path / "teachers").iterdir() if path.suffix != ".lock"] == []
    assert ensure_teacher(asked, tmp_path).digest == asked.digest

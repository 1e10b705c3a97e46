import json

import pytest

from kdsearch.distill.teachers.recipes import pretraining_data, recipe_of
from kdsearch.errors import RequestError
from kdsearch.spec import TrainingSpec
from kdsearch.spec.sections import Dataset, Pretraining

BASE = {
    "dataset": {"name": "digits", "train_size": 300, "validation_size": 300},
    "augment": {"crop_padding": 1},
    "teacher": {"arch": "convnet_32_64_128", "finetune": {"epochs": 20}},
}
DIGEST_MNIST = "f38ee07c5afb3735a4e4d22a04ac5cd70ce08d3c77ae5e1f62863b7d8bddc57c"
DIGEST_WEIGHTS = "c2af6810c68b553a5852e0edd306d79118474b4f6e6fc5f6386bff6bcd17b573"


def recipe(**changes):
    document = json.loads(json.dumps(BASE))
    for path, value in changes.items():
        section = document
        *above, last = path.split("__")
        for key in above:
            section = section.setdefault(key, {})
        section[last] = value
    return recipe_of(TrainingSpec.model_validate(document))


def test_the_digest_of_a_recipe_never_changes_by_itself():
    assert recipe().digest == "aede408f1c4560a51203440e065de38ae7dc7f5a842a80fa6752375807976fc5"


@pytest.mark.parametrize(
    "change",
    [
        {"dataset__train_size": 299},
        {"dataset__split_seed": 1},
        {"dataset__image_size": 16},
        {"augment__flip": True},
        {"teacher__arch": "convnet_8"},
        {"teacher__seed": 1},
        {"teacher__finetune__epochs": 21},
        {"teacher__finetune__label_smoothing": 0.1},
        {"teacher__pretraining": {"dataset": "MNIST", "epochs": 2}},
        {"teacher__pretraining": {"weights": "DEFAULT"}},
    ],
)
def test_what_decides_the_weights_changes_the_digest(change):
    assert recipe(**change).digest != recipe().digest


@pytest.mark.parametrize(
    "change",
    [
        {"dataset__root": "/elsewhere"},
        {"dataset__download": True},
        {"student__arch": "resnet8"},
        {"objective__temperature": 2.0},
        {"optimizer__lr": 0.5},
    ],
)
def test_what_does_not_decide_the_weights_leaves_the_digest(change):
    assert recipe(**change).digest == recipe().digest


def test_an_untrained_teacher_does_not_depend_on_how_it_would_be_trained():
    untrained = recipe(teacher__finetune__epochs=0)
    assert recipe(teacher__finetune__epochs=0, augment__flip=True, teacher__finetune__lr=1).digest == (
        untrained.digest
    )
    assert recipe(teacher__finetune__epochs=0, teacher__finetune__head_epochs=1).digest != untrained.digest


def test_momentum_belongs_to_sgd():
    adamw = {"teacher__finetune__optimizer": "adamw"}
    assert recipe(**adamw).digest == recipe(**adamw, teacher__finetune__momentum=0.5).digest
    assert recipe().digest != recipe(teacher__finetune__momentum=0.5).digest


def test_a_file_counts_by_what_it_holds(tmp_path):
    first, second = tmp_path / "first.pt", tmp_path / "second.pt"
    first.write_bytes(b"weights")
    second.write_bytes(b"weights")
    digests = [recipe(teacher__pretraining={"checkpoint": str(file)}).digest for file in (first, second)]
    assert digests[0] == digests[1]
    second.write_bytes(b"other weights")
    assert recipe(teacher__pretraining={"checkpoint": str(second)}).digest != digests[0]


def test_a_label_file_counts_by_what_it_holds(tmp_path):
    file = tmp_path / "labels.json"
    file.write_text("{}")
    before = recipe(dataset__labels=str(file)).digest
    file.write_text('{"0": "even"}')
    assert recipe(dataset__labels=str(file)).digest != before


PRETRAINED = {"dataset": "MNIST", "epochs": 2}


def test_the_digest_of_a_pretraining_never_changes_by_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("KDSEARCH_DATA", str(tmp_path))
    assert recipe(teacher__pretraining=PRETRAINED).digest == DIGEST_MNIST
    assert recipe(teacher__pretraining={"weights": "DEFAULT"}).digest == DIGEST_WEIGHTS


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": "adamw"},
        {"lr": 0.01},
        {"momentum": 0.5},
        {"weight_decay": 0},
        {"batch_size": 32},
        {"schedule": "constant"},
    ],
)
def test_how_a_pretraining_is_trained_changes_the_digest(change):
    changed = recipe(teacher__pretraining={**PRETRAINED, **change})
    assert changed.digest != recipe(teacher__pretraining=PRETRAINED).digest


@pytest.mark.parametrize(("dataset", "counts"), [("MNIST", False), ("imagefolder", True)])
def test_a_root_counts_where_the_name_alone_does_not_decide(dataset, counts):
    first, second = (
        recipe(teacher__pretraining={"dataset": dataset, "epochs": 2, "root": root}).digest
        for root in ("/a", "/b")
    )
    assert (first != second) == counts


@pytest.mark.parametrize(("labels", "split_seed"), [("fine", 0), ("coarse", 3)])
def test_pretraining_on_the_studys_own_data_takes_its_training_part_alone(labels, split_seed):
    own = Dataset(name="CIFAR100", labels=labels, train_size=100, validation_size=50, split_seed=split_seed)
    first = pretraining_data(Pretraining(dataset="CIFAR100", epochs=1), own)
    assert first == own.model_copy(update={"labels": "fine"})
    other = pretraining_data(Pretraining(dataset="CIFAR10", epochs=1), own)
    assert (other.train_size, other.validation_size) == (None, 0.1)


def test_a_missing_checkpoint_is_named():
    with pytest.raises(RequestError, match=r"`teacher.pretraining.checkpoint` must be a readable file"):
        _ = recipe(teacher__pretraining={"checkpoint": "nowhere.pt"}).digest


def test_a_recipe_is_plain_values():
    values = recipe().to_dict()
    assert json.loads(json.dumps(values)) == values
    assert values["teacher"]["finetune"]["epochs"] == 20

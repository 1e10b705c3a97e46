import numpy as np
import pytest
import torch

from kdsearch.distill.data.dataset import load_dataset
from kdsearch.distill.models import build_model
from kdsearch.distill.randomness import stream
from kdsearch.distill.teachers.initial_students import initial_student, starting_recipe
from kdsearch.distill.views.batches import Views
from kdsearch.errors import RequestError, RunError
from kdsearch.spec import TrainingSpec
from kdsearch.spec.sections import Augment

DATASET = {"name": "digits", "train_size": 200, "validation_size": 100}


def student(tmp_path, init, seed=0):
    spec = TrainingSpec.model_validate({"dataset": DATASET, "student": {"init": init}})
    data = load_dataset(spec.dataset)
    return initial_student(spec, seed, data=data, artifacts=tmp_path, device="cpu"), data


def val_accuracy(model, data):
    views = Views(data.validation, Augment(), data.mean, data.std)
    with torch.no_grad():
        logits = model.eval()(views.plain(torch.arange(len(views))))
    return float((logits.argmax(1) == data.validation.labels).double().mean())


def weights(model):
    return torch.nn.utils.parameters_to_vector(model.parameters())


def n_trained(tmp_path):
    return len([path for path in (tmp_path / "teachers").glob("*") if path.is_dir()])


def squares():
    rng = np.random.default_rng(0)
    labels = np.arange(100) % 10
    images = rng.integers(0, 60, (100, 8, 8)) + labels[:, None, None] * 15
    return (images.astype(np.uint8), labels), None


def test_a_random_student_is_its_seeds_alone(tmp_path):
    model, _ = student(tmp_path, "random", seed=3)
    expected = build_model("convnet_8_16", 10, 1, image_size=8, generator=stream(3, "student"))
    assert torch.equal(weights(model), weights(expected))
    assert not (tmp_path / "teachers").exists()


def test_a_target_trained_student_has_learnt_and_is_shared_by_every_fourth_seed(tmp_path):
    (first, data), (second, _), (fifth, _) = (student(tmp_path, {"epochs": 20}, seed) for seed in (0, 1, 4))
    assert val_accuracy(first, data) > 0.5
    assert torch.equal(weights(first), weights(fifth))
    assert not torch.equal(weights(first), weights(second))
    assert n_trained(tmp_path) == 2


def test_a_checkpoints_student_gets_its_own_new_head(tmp_path):
    body = build_model("convnet_8_16", 7, 3)
    torch.save(body.state_dict(), tmp_path / "body.pt")
    (first, _), (second, _) = (
        student(tmp_path, {"checkpoint": str(tmp_path / "body.pt")}, seed) for seed in (0, 1)
    )
    assert torch.equal(first.convs[1].weight, body.convs[1].weight)
    assert torch.equal(second.convs[1].weight, body.convs[1].weight)
    assert not torch.equal(first.fc.weight, second.fc.weight)


def test_a_student_pretrained_on_other_data_shares_the_body(tmp_path):
    init = {"dataset": f"{__name__}:squares", "epochs": 2}
    (first, _), (second, _) = (student(tmp_path, init, seed) for seed in (0, 1))
    assert torch.equal(first.convs[1].weight, second.convs[1].weight)
    assert not torch.equal(first.fc.weight, second.fc.weight)
    assert n_trained(tmp_path) == 1


@pytest.mark.parametrize("seed", [0, 1])
def test_a_pretrained_and_finetuned_student_has_learnt(tmp_path, seed):
    init = {"dataset": f"{__name__}:squares", "epochs": 2, "finetune_epochs": 60}
    model, data = student(tmp_path, init, seed)
    assert val_accuracy(model, data) > 0.3
    assert n_trained(tmp_path) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arch": "resnet8", "stem": "small"}, "`student.stem` must be standard"),
        ({"init": {"checkpoint": "nowhere.pt"}}, "`student.init.checkpoint` must be a file that can be read"),
        ({"init": {"weights": "V1"}}, "`student.init.weights` must go with"),
        (
            {"arch": "mlp_8", "init": {"epochs": 2, "optimizer": "sgd", "lr": 1e30}},
            r"learning rate of 1e\+30. Lower `student.init.lr`",
        ),
        (
            {"init": {"dataset": "CIFAR10", "epochs": 2, "root": "/nowhere"}},
            "`student.init.root` must hold the files of CIFAR10, got '/nowhere'",
        ),
    ],
)
def test_an_error_names_the_path_of_what_is_wrong(tmp_path, changes, message):
    spec = TrainingSpec.model_validate({"dataset": DATASET, "student": changes})
    with pytest.raises((RequestError, RunError), match=message):
        initial_student(spec, 0, data=load_dataset(spec.dataset), artifacts=tmp_path, device="cpu")


def test_a_student_is_finetuned_at_a_tenth_of_the_rate_that_it_was_pretrained_at():
    init = {"dataset": f"{__name__}:squares", "epochs": 2, "finetune_epochs": 3, "lr": 0.02}
    spec = TrainingSpec.model_validate({"dataset": DATASET, "student": {"init": init}})
    finetune = starting_recipe(spec, build_model("convnet_8_16", 10, 1), 0).teacher.finetune
    assert (finetune.epochs, finetune.optimizer, finetune.lr) == (3, "sgd", pytest.approx(0.002))

import argparse

import pytest
import torch
from torch import nn

from kdsearch.distill.data.dataset import load_dataset
from kdsearch.distill.models import build_model
from kdsearch.distill.weights.published import load_published
from kdsearch.distill.weights.starts import load_checkpoint, load_weights
from kdsearch.errors import RequestError
from kdsearch.spec.sections import Dataset


def network(seed, num_classes=10, in_channels=3, arch="convnet_4_6", **options):
    generator = torch.Generator().manual_seed(seed)
    return build_model(arch, num_classes, in_channels, generator=generator, **options)


def saved(tmp_path, content):
    file = tmp_path / "checkpoint.pt"
    torch.save(content, file)
    return str(file)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state, "opt": argparse.Namespace(lr=0.1)},
        lambda state: {f"module.{name}": value for name, value in state.items()},
    ],
    ids=["plain", "state_dict", "model", "module."],
)
def test_checkpoints_of_many_forms_are_read(tmp_path, wrap):
    theirs, mine = network(0), network(1)
    load_checkpoint(mine, saved(tmp_path, wrap(theirs.state_dict())))
    for name, value in theirs.state_dict().items():
        assert torch.equal(mine.state_dict()[name], value)


def test_a_head_of_another_size_stays(tmp_path):
    theirs, mine = network(0, num_classes=7), network(1)
    before = mine.fc.weight.clone()
    load_checkpoint(mine, saved(tmp_path, theirs.state_dict()))
    assert torch.equal(mine.fc.weight, before)
    assert torch.equal(mine.convs[1].weight, theirs.convs[1].weight)


def test_a_new_head_stays_even_where_its_size_agrees():
    theirs, mine = network(0), network(1)
    before = mine.fc.weight.clone()
    load_weights(mine, theirs.state_dict(), source="there", new_head=True)
    assert torch.equal(mine.fc.weight, before)
    assert torch.equal(mine.convs[0].weight, theirs.convs[0].weight)


def test_colour_weights_are_fitted_to_grey_images():
    theirs, mine = network(0).eval(), network(1, in_channels=1).eval()
    load_weights(mine, theirs.state_dict(), source="there")
    grey = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mine(grey), theirs(grey.expand(-1, 3, -1, -1)))


def test_colour_weights_in_half_precision_are_fitted_as_precisely_as_wider_ones():
    theirs, half = network(0).state_dict(), {}
    for name, value in theirs.items():
        half[name] = value.bfloat16() if value.is_floating_point() else value
    fitted = []
    for weights in (half, {n: v.float() if v.is_floating_point() else v for n, v in half.items()}):
        mine = network(1, in_channels=1)
        load_weights(mine, weights, source="there")
        fitted.append(mine.convs[0].weight)
    assert torch.equal(*fitted)


def test_a_new_stem_stays():
    theirs = network(0, arch="torchvision:resnet18")
    mine = network(1, arch="torchvision:resnet18", stem="small")
    with pytest.raises(RequestError, match=r"not fitting conv1\.weight"):
        load_weights(mine, theirs.state_dict(), source="there")
    load_weights(mine, theirs.state_dict(), source="there", new_stem=True)
    assert torch.equal(mine.layer1[0].conv1.weight, theirs.layer1[0].conv1.weight)


def test_weights_of_another_architecture_are_refused_whole(tmp_path):
    mine = network(1)
    before = nn.utils.parameters_to_vector(mine.parameters()).clone()
    with pytest.raises(RequestError, match=r"`pretraining` must give weights of the network's architecture"):
        load_checkpoint(mine, saved(tmp_path, network(0, arch="convnet_4_8").state_dict()))
    assert torch.equal(nn.utils.parameters_to_vector(mine.parameters()), before)


@pytest.mark.parametrize("content", [b"no checkpoint", b""])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path, content):
    file = tmp_path / "checkpoint.pt"
    file.write_bytes(content)
    with pytest.raises(RequestError, match=r"`pretraining.checkpoint` must be a PyTorch checkpoint"):
        load_checkpoint(network(0), str(file))


def test_a_checkpoint_that_is_not_there_is_told_by_its_path(tmp_path):
    with pytest.raises(
        RequestError, match=r"a file that can be read, .*No such file or directory.*Check its path"
    ):
        load_checkpoint(network(0), str(tmp_path / "gone.pt"))


def test_torchvisions_published_weights_are_read_from_its_cache(tmp_path, monkeypatch):
    published = network(0, num_classes=1000, arch="torchvision:squeezenet1_1", image_size=32)
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(published.state_dict(), cache / "squeezenet1_1-b8a52dc0.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    data = load_dataset(Dataset(image_size=32))
    mine = network(1, in_channels=1, arch="torchvision:squeezenet1_1", image_size=32)
    load_published(mine, "torchvision:squeezenet1_1", "DEFAULT", data)
    assert torch.equal(mine.features[3].squeeze.weight, published.features[3].squeeze.weight)
    assert mine.classifier[1].weight.shape[0] == 10


def test_unknown_published_weights_are_named():
    data = load_dataset(Dataset())
    with pytest.raises(
        RequestError, match=r"torchvision's for resnet18, got 'V9'. Choose one of IMAGENET1K_V1"
    ):
        load_published(nn.Identity(), "torchvision:resnet18", "V9", data)
    with pytest.raises(
        RequestError, match=r"must go with torchvision:NAME, timm:NAME or hf:NAME, got 'resnet8'"
    ):
        load_published(nn.Identity(), "resnet8", "DEFAULT", data)

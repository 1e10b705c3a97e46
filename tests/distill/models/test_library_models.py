import pytest
import torch
from torch import nn

from kdsearch.distill.models import build_model
from kdsearch.errors import RequestError


def test_torchvision_networks_take_the_classes_channels_and_size_asked_for():
    model = build_model("torchvision:mobilenet_v3_small", 7, 1, image_size=32).eval()
    assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 7)


def test_small_stem_keeps_the_resolution():
    standard, small = (
        build_model("torchvision:resnet18", 7, image_size=32, stem=stem).eval()
        for stem in ("standard", "small")
    )
    shapes = []
    for model in (standard, small):
        model.layer1.register_forward_hook(lambda module, inputs, output: shapes.append(output.shape[-1]))
        assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 7)
    assert shapes == [8, 32]
    assert small.conv1.kernel_size == (3, 3)


def test_torchvision_vit_takes_the_size_of_the_images():
    with pytest.raises(RequestError, match=r"`arch` must be a torchvision model that fits, got 'vit_b_16'"):
        build_model("torchvision:vit_b_16", 3, image_size=40)


def test_images_too_small_for_a_network_are_named():
    with pytest.raises(RequestError, match=r"`arch` must be a network for images of 3×8×8"):
        build_model("torchvision:alexnet", 3, image_size=8)


def test_timm_networks_take_the_classes_channels_and_size_asked_for():
    pytest.importorskip("timm")
    for arch in ("timm:resnet10t", "timm:vit_tiny_patch16_224"):
        model = build_model(arch, 7, 1, image_size=32).eval()
        assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 7)


def test_unknown_timm_network_is_named():
    pytest.importorskip("timm")
    with pytest.raises(RequestError, match="must be a timm model, got 'resnet18z'"):
        build_model("timm:resnet18z", 7)


def own(num_classes, in_channels):
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * 64, num_classes))


def fixed_head():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 1000))


def crooked():
    return nn.Flatten()


def no_network():
    return "resnet8"


@pytest.mark.parametrize("factory", [own, fixed_head])
def test_a_factorys_network_gets_the_head_it_needs(factory):
    model = build_model(f"{__name__}:{factory.__name__}", 7, 1, image_size=8)
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 7)


def in_half(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes), nn.BatchNorm1d(num_classes)).half()


def in_double(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes)).double()


@pytest.mark.parametrize("factory", [in_half, in_double])
def test_a_factorys_network_is_trained_in_float32(factory):
    model = build_model(f"{__name__}:{factory.__name__}", 7, 1, image_size=8)
    assert {own.dtype for own in model.state_dict().values() if own.is_floating_point()} == {torch.float32}
    assert model.eval()(torch.zeros(2, 1, 8, 8)).dtype == torch.float32


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("crooked", "must give one logit for each of 7 classes"),
        ("no_network", "must return an nn.Module, got str"),
        ("nothing", "`arch` must be importable"),
    ],
)
def test_a_factory_without_a_fitting_network_is_refused(factory, message):
    with pytest.raises(RequestError, match=message):
        build_model(f"{__name__}:{factory}", 7, 1, image_size=8)

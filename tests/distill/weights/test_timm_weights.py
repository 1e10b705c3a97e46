"""Weights of timm, from a cache of its hub.

The cache holds what `timm` itself saved.
"""

import pytest
import torch

from kdsearch.distill.data.dataset import load_dataset
from kdsearch.distill.models import build_model
from kdsearch.distill.teachers.made import ensure_teacher, recipe_of
from kdsearch.distill.weights.published import load_published
from kdsearch.errors import RequestError, RunError
from kdsearch.spec import TrainingSpec
from kdsearch.spec.sections import Dataset

timm = pytest.importorskip("timm")
ARCH, TAG = "test_resnet", "r160_in1k"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A hub that is offline, and where its files are looked for."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def publish(cache, arch, tag):
    """Put weights into the cache as the hub's client does.

    Their network is returned.
    """
    from safetensors.torch import save_file

    torch.manual_seed(7)
    model = timm.create_model(arch, num_classes=1000).eval()
    repository = cache / f"models--timm--{arch}.{tag}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    (repository / "snapshots" / ("0" * 40)).mkdir(parents=True)
    save_file(model.state_dict(), repository / "snapshots" / ("0" * 40) / "model.safetensors")
    return model


@pytest.fixture
def published(cache):
    """The network whose weights lie in the cache."""
    return publish(cache, ARCH, TAG)


def network(seed, num_classes=10, in_channels=1, **options):
    generator = torch.Generator().manual_seed(seed)
    return build_model(
        f"timm:{ARCH}", num_classes, in_channels, image_size=32, generator=generator, **options
    )


@pytest.mark.parametrize("weights", ["DEFAULT", TAG])
def test_the_body_is_the_published_one_and_the_head_is_the_seeds(published, weights):
    data = load_dataset(Dataset(image_size=32))
    mine, before = network(1).eval(), torch.get_rng_state()
    head = mine.fc.weight.clone()
    load_published(mine, f"timm:{ARCH}", weights, data)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(mine.fc.weight, head)
    grey = torch.rand(2, 1, 32, 32)
    expected = published.forward_features(grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(mine.forward_features(grey), expected, rtol=1e-3, atol=1e-4)


def test_a_published_head_for_as_many_classes_is_taken(published):
    data = load_dataset(Dataset(image_size=32))
    object.__setattr__(data, "num_classes", 1000)
    mine = network(1, num_classes=1000)
    load_published(mine, f"timm:{ARCH}", TAG, data)
    assert torch.equal(mine.fc.weight, published.fc.weight)


def test_unknown_weights_are_named_with_those_there_are(cache):
    data = load_dataset(Dataset(image_size=32))
    with pytest.raises(RequestError, match=rf"timm's for {ARCH}, got 'V9'. Choose one of {TAG}, DEFAULT"):
        load_published(network(1), f"timm:{ARCH}", "V9", data)


def test_weights_that_are_not_at_hand_are_named(cache):
    spec = TrainingSpec.model_validate(
        {
            "dataset": {"name": "digits", "image_size": 32},
            "teacher": {"arch": f"timm:{ARCH}", "pretraining": {"weights": TAG}},
        }
    )
    with pytest.raises(
        RunError, match=r"`teacher.pretraining.weights` 'r160_in1k' of timm:test_resnet can't be"
    ):
        ensure_teacher(recipe_of(spec), cache)


def test_a_small_stem_keeps_its_own_weights_and_takes_the_rest(cache):
    theirs = publish(cache, "resnet18", "a1_in1k").state_dict()
    mine = build_model("timm:resnet18", 10, 1, image_size=32, stem="small")
    own = {name: value.clone() for name, value in mine.state_dict().items()}
    load_published(mine, "timm:resnet18", "a1_in1k", load_dataset(Dataset(image_size=32)), new_stem=True)
    for name, value in mine.state_dict().items():
        kept = name in ("conv1.weight", "fc.weight", "fc.bias")
        assert torch.equal(value, own[name] if kept else theirs[name])

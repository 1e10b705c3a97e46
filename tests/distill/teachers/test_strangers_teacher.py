"""A stranger's photographs and teacher: its script's predictions come back without a training."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from kdsearch.distill.data.dataset import load_dataset
from kdsearch.distill.teachers.made import ensure_teacher, load_teacher, recipe_of
from kdsearch.distill.views.batches import Views
from kdsearch.errors import SpecError
from kdsearch.spec import TrainingSpec, load_spec
from kdsearch.spec.sections import Augment

SIZE, CROP = 64, 0.95  # a crop unlike the usual 0.875
COLOURS = np.array([[150, 90, 60], [90, 110, 170], [70, 140, 60]])
SIZES = ((80, 104), (128, 96), (70, 70))  # wide, high and square; all larger than the crop


def photograph(generator, label):
    """Return a noisy texture that shows its class.

    Colour, direction and scale are the class's; its size is one of several.
    """
    height, width = SIZES[generator.integers(len(SIZES))]
    y, x = np.mgrid[:height, :width]
    wave = np.sin(0.1 * (1 + label) * (x * np.cos(label) + y * np.sin(label)) + generator.uniform(0, 6))
    pixels = (
        COLOURS[label]
        + 40 * wave[..., None]
        + generator.normal(0, 60)
        + generator.normal(0, 20, (height, width, 3))
    )
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    root, generator = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for part, n in (("train", 20), ("test", 24)):
        for label, name in enumerate(("bark", "sea", "grass")):
            folder = root / part / name
            folder.mkdir(parents=True)
            for index in range(n):
                photograph(generator, label).save(folder / f"{index}.jpg", quality=90)
    return root


@pytest.fixture(scope="module")
def script(photographs):
    """Train a network as an ordinary script does.

    What it returns are its file, its test predictions and its accuracy.
    """
    import timm
    from timm.data import create_transform
    from torchvision.datasets import ImageFolder

    transform = create_transform(
        (3, SIZE, SIZE), mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear", crop_pct=CROP
    )
    train, test = (ImageFolder(photographs / part, transform) for part in ("train", "test"))
    images, labels = torch.stack([image for image, _ in train]), torch.tensor(train.targets)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = timm.create_model("test_resnet", num_classes=3)
        optimizer = torch.optim.AdamW(net.parameters(), 2e-3)
        for _ in range(6):
            for batch in torch.randperm(len(images)).split(20):
                optimizer.zero_grad()
                F.cross_entropy(net(images[batch]), labels[batch]).backward()
                optimizer.step()
    with torch.no_grad():
        predicted = net.eval()(torch.stack([image for image, _ in test])).argmax(1)
    file = photographs.parent / "model_best.pth.tar"
    torch.save(
        {"epoch": 5, "arch": "test_resnet", "state_dict": net.state_dict(), "best": np.float64(1)}, file
    )
    return file, predicted, float((predicted == torch.tensor(test.targets)).float().mean())


@pytest.mark.parametrize(
    ("image_size", "differing"), [(int(SIZE / CROP), 0.0), (48, 0.1)], ids=["its pixels", "a smaller student"]
)
def test_a_teacher_predicts_as_in_the_script_that_trained_it(
    photographs, script, tmp_path, image_size, differing
):
    file, predicted, accuracy = script
    asked = TrainingSpec.model_validate(
        {
            "dataset": {
                **{"name": "imagefolder", "root": str(photographs)},
                **{"image_size": image_size, "validation_size": 12},
            },
            "teacher": {
                "arch": "timm:test_resnet",
                "pretraining": {"checkpoint": str(file)},
                "finetune": {"epochs": 0},
                "preprocessing": {"mean": [0.5], "std": [0.5], "size": SIZE, "crop": CROP},
            },
        }
    )
    record = ensure_teacher(recipe_of(asked), tmp_path)
    data = load_dataset(asked.dataset)
    views = Views(data.test, Augment(), data.mean, data.std)
    mine = torch.cat([load_teacher(record)(batch.images).argmax(1) for batch in views.plain_batches(50)])
    assert 0.4 < accuracy < 1.0
    assert float((mine != predicted).float().mean()) <= differing
    assert record.test_accuracy == pytest.approx(accuracy, abs=differing + 1e-6)


def test_no_more_than_the_whole_side_is_seen():
    document = {"name": "a", "tune": {"objective.temperature": {"low": 1, "high": 9}}}
    with pytest.raises(SpecError, match=r"`crop` must be at most 1, the whole side, got 1.2"):
        load_spec({**document, "teacher": {"preprocessing": {"crop": 1.2}}})

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from kdsearch.distill.data.dataset import load_dataset
from kdsearch.distill.data.images import StreamedImages
from kdsearch.errors import RequestError
from kdsearch.spec.sections import Dataset

SHADES = np.random.default_rng(0).integers(0, 256, (40, 6, 6, 3), dtype=np.uint8)


def colour_arrays():
    return (SHADES[:30], np.arange(30) % 3), (SHADES[30:], np.arange(10) % 3)


class Pictures:
    """A map-style data set of PIL images without labels' list."""

    def __init__(self, images, mode="RGB"):
        self.images = [Image.fromarray(image).convert(mode) for image in images]

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index], index % 3


def colour_pictures(dataset):
    assert isinstance(dataset, Dataset)
    return Pictures(SHADES[:30]), Pictures(SHADES[30:])


def grey_pictures(dataset):
    return Pictures(SHADES, mode="L"), None


def float_arrays():
    return (SHADES / 255, np.arange(40) % 3), None


def factory(function, **sizes):
    return Dataset(name=f"{__name__}:{function.__name__}", **{"validation_size": 6, **sizes})


def test_digits_are_the_scaled_images_of_scikit_learn():
    data = load_dataset(Dataset(train_size=300, validation_size=300))
    assert [len(part) for part in (data.train, data.validation, data.test)] == [300, 300, 1197]
    assert (data.num_classes, data.in_channels, data.image_size) == (10, 1, 8)
    images = torch.cat([part.images for part in (data.train, data.validation, data.test)])
    original = load_digits().images
    assert images.dtype == torch.uint8
    assert sorted(images.flatten(1).sum(1).tolist()) == sorted(
        np.rint(original * 255 / 16).sum((1, 2)).astype(int).tolist()
    )


def test_mean_and_deviation_are_those_of_the_training_pixels():
    data = load_dataset(factory(colour_arrays))
    pixels = data.train.images.double() / 255
    assert data.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist())
    assert data.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist())


def test_arrays_and_pictures_of_a_factory_agree():
    arrays, pictures = (load_dataset(factory(function)) for function in (colour_arrays, colour_pictures))
    assert len(arrays.test) == 10
    assert torch.equal(arrays.test.images, torch.from_numpy(SHADES[30:]).permute(0, 3, 1, 2))
    for part in ("train", "validation", "test"):
        assert torch.equal(getattr(arrays, part).images, getattr(pictures, part).images)
        assert torch.equal(getattr(arrays, part).labels, getattr(pictures, part).labels)


def test_a_set_larger_than_the_limit_is_streamed():
    held = load_dataset(factory(colour_pictures))
    streamed = load_dataset(factory(colour_pictures), memory_limit_bytes=1000)
    images = streamed.train.images
    assert isinstance(images, StreamedImages)
    assert torch.equal(images.gather(torch.tensor([3, 1])), held.train.images[[3, 1]])
    assert (streamed.mean, streamed.std) == (held.mean, held.std)


def test_images_are_converted_to_the_channels_asked_for():
    colour = load_dataset(factory(grey_pictures), in_channels=3)
    assert colour.in_channels == 3
    assert torch.equal(colour.train.images[:, 0], colour.train.images[:, 2])
    grey = load_dataset(factory(colour_arrays), in_channels=1).test.images.double()
    red, green, blue = SHADES[30:].astype(float).transpose(3, 0, 1, 2)
    assert (
        np.abs(grey[:, 0].numpy() - (0.299 * red + 0.587 * green + 0.114 * blue)).max() < 1.1
    )  # torchvision rounds down


def test_images_are_resized_where_asked():
    data = load_dataset(Dataset(image_size=16))
    assert data.train.images.shape[1:] == (1, 16, 16)
    means = data.train.images.double().mean(), load_dataset(Dataset()).train.images.double().mean()
    assert float(means[0]) == pytest.approx(float(means[1]), rel=0.02)


def test_floating_point_images_are_the_same_pictures():
    floats, whole = load_dataset(factory(float_arrays)), load_dataset(factory(colour_arrays))
    pixels = torch.cat([floats.train.images, floats.validation.images, floats.test.images])
    assert sorted(pixels.flatten(1).sum(1).tolist()) == sorted(SHADES.reshape(40, -1).sum(1).tolist())
    assert whole.in_channels == floats.in_channels


@pytest.mark.parametrize("name", ["nosuchmodule:factory", "math:nothing", "math:pi"])
def test_a_factory_that_is_not_there_is_named(name):
    with pytest.raises(RequestError, match=r"`dataset\.name` must"):
        load_dataset(Dataset(name=name))


def write_folder(root, parts, sizes=((9, 12), (12, 9))):
    for part in parts:
        for label, shade in (("dark", 40), ("light", 210)):
            folder = root / part / label
            folder.mkdir(parents=True)
            for number in range(10):
                height, width = sizes[number % len(sizes)]
                Image.new("RGB", (width, height), (shade,) * 3).save(folder / f"{number}.png")


@pytest.mark.parametrize(
    ("parts", "n_train", "n_test"),
    [(["train", "val"], 14, 20), (["train", "val", "test"], 34, 20), (["."], 10, 4)],
)
def test_image_folder_is_split_as_it_lies(tmp_path, parts, n_train, n_test):
    write_folder(tmp_path, parts)
    dataset = Dataset(name="imagefolder", root=str(tmp_path), image_size=8, validation_size=6)
    data = load_dataset(dataset)
    assert (len(data.train), len(data.validation), len(data.test)) == (n_train, 6, n_test)
    assert data.classes == ("dark", "light")
    shades = data.test.images.flatten(1).double().mean(1)
    assert torch.equal((shades > 128).long(), data.test.labels)


def test_mixed_sizes_are_cut_to_a_sensible_square(tmp_path):
    write_folder(tmp_path, ["train"])
    data = load_dataset(Dataset(name="imagefolder", root=str(tmp_path), validation_size=2))
    assert data.image_size == 224
    assert data.train.images.shape[1:] == (3, 224, 224)


def test_image_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RequestError, match=r"`dataset\.root` must hold one folder of images"):
        load_dataset(Dataset(name="imagefolder", root=str(tmp_path / "nowhere")))

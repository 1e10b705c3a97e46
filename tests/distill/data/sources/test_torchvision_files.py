"""Every torchvision data set is read from tiny files.

They are in the set's own format. Each image has one shade, which tells its class and the part that it was
written for, so that images, labels and splits are checked against each other.
"""

import bz2
import csv
import json
import pickle

import numpy as np
import pytest
import scipy.io
import torch
import torchvision
from PIL import Image

from kdsearch.distill.data.dataset import load_dataset
from kdsearch.distill.data.labels import CIFAR100_SUPERCLASSES
from kdsearch.errors import RequestError
from kdsearch.spec.catalogue import TORCHVISION_DATASETS
from kdsearch.spec.sections import Dataset

N_CLASSES, N_EACH = 2, 4  # the fewest from which splits still have both classes
LABELS = np.repeat(np.arange(N_CLASSES), N_EACH)
PARTS = ("train", "val", "test")


def shade(part, label):
    return 20 + 40 * label + 100 * (part == "test") + 20 * (part == "val")


SHADES = {shade(part, label): (part, label) for part in PARTS for label in range(N_CLASSES)}


def arrays(part, size, n_channels=None):
    shape = (size, size) if n_channels is None else (n_channels, size, size)
    return np.stack([np.full(shape, shade(part, label), np.uint8) for label in LABELS])


def save_image(path, part, label, size=(12, 12)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade(part, label),) * 3).save(path)


def save_class_folders(folder, part, classes, suffix):
    for label, name in enumerate(classes):
        for number in range(N_EACH):
            save_image(folder / name / f"{number}{suffix}", part, label)


def write_idx(path, array, kind=8):
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, kind, array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    path.write_bytes(header + array.tobytes())


def cifar(folder, files, meta, key, label_key):
    def write(root):
        for part, names in files.items():
            for rows, name in zip(np.array_split(np.arange(len(LABELS)), len(names)), names, strict=True):
                pixels = arrays(part, 32, 3)[rows].reshape(len(rows), -1)
                (root / folder).mkdir(exist_ok=True)
                entry = {"data": pixels, label_key: LABELS[rows].tolist()}
                (root / folder / name).write_bytes(pickle.dumps(entry))
        (root / folder / meta).write_bytes(pickle.dumps({key: ["first", "second"]}))

    return write


def mnist(name, prefixes, label_suffix="labels-idx1-ubyte"):
    def write(root):
        raw = root / name / "raw"
        for part, prefix in prefixes.items():
            write_idx(raw / f"{prefix}-images-idx3-ubyte", arrays(part, 28))
            write_idx(raw / f"{prefix}-{label_suffix}", LABELS.astype(np.uint8))

    return write


def qmnist(root):
    for part in ("train", "test"):
        raw = root / "QMNIST" / "raw"
        write_idx(raw / f"qmnist-{part}-images-idx3-ubyte", arrays(part, 28))
        rows = np.zeros((len(LABELS), 8), ">i4")
        rows[:, 0], rows[:, 1:] = LABELS, 9
        write_idx(raw / f"qmnist-{part}-labels-idx2-int", rows, kind=12)


def usps(root):
    for part, name in (("train", "usps.bz2"), ("test", "usps.t.bz2")):
        pixels = arrays(part, 16).reshape(len(LABELS), -1) / 255 * 2 - 1
        lines = [
            f"{label + 1} " + " ".join(f"{place}:{value:.6f}" for place, value in enumerate(row, 1))
            for label, row in zip(LABELS, pixels, strict=True)
        ]
        (root / name).write_bytes(bz2.compress("\n".join(lines).encode()))


def svhn(root):
    for part in ("train", "test"):
        digits = np.where(LABELS == 0, 10, LABELS).astype(np.uint8)[:, None]
        pixels = arrays(part, 32, 3).transpose(2, 3, 1, 0)
        scipy.io.savemat(root / f"{part}_32x32.mat", {"X": pixels, "y": digits})


def stl10(root):
    folder = root / "stl10_binary"
    folder.mkdir()
    for part in ("train", "test"):
        arrays(part, 96, 3).tofile(folder / f"{part}_X.bin")
        (LABELS + 1).astype(np.uint8).tofile(folder / f"{part}_y.bin")
    (folder / "unlabeled_X.bin").touch()
    (folder / "class_names.txt").write_text("airplane\nbird\n")


def flowers102(root):
    folder = root / "flowers-102"
    numbers = {}
    for part, key in (("train", "trnid"), ("val", "valid"), ("test", "tstid")):
        first = 1 + len(LABELS) * PARTS.index(part)
        numbers[key] = np.arange(first, first + len(LABELS))
        for number, label in zip(numbers[key], LABELS, strict=True):
            save_image(folder / "jpg" / f"image_{number:05d}.jpg", part, label)
    scipy.io.savemat(folder / "setid.mat", numbers)
    scipy.io.savemat(folder / "imagelabels.mat", {"labels": np.tile(LABELS + 1, 3)})


def stanford_cars(root):
    folder = root / "stanford_cars"
    for part, annotations in (
        ("train", "devkit/cars_train_annos.mat"),
        ("test", "cars_test_annos_withlabels.mat"),
    ):
        rows = np.zeros(len(LABELS), [("class", "u1"), ("fname", "O")])
        rows["class"] = LABELS + 1
        rows["fname"] = [f"{number:05d}.jpg" for number in range(len(LABELS))]
        for row, label in zip(rows, LABELS, strict=True):
            save_image(folder / f"cars_{part}" / row["fname"], part, label)
        (folder / "devkit").mkdir(exist_ok=True)
        scipy.io.savemat(folder / annotations, {"annotations": rows})
    names = np.array(["AM General Hummer", "Acura RL"], dtype=object)
    scipy.io.savemat(folder / "devkit" / "cars_meta.mat", {"class_names": names})


def fgvc_aircraft(root):
    folder = root / "fgvc-aircraft-2013b" / "data"
    for part, listed in (("train", "trainval"), ("test", "test")):
        names = [f"{part}{number}" for number in range(len(LABELS))]
        for name, label in zip(names, LABELS, strict=True):
            save_image(folder / "images" / f"{name}.jpg", part, label)
        lines = [f"{name} {('707-320', 'DC 10')[label]}" for name, label in zip(names, LABELS, strict=True)]
        (folder / f"images_variant_{listed}.txt").write_text("\n".join(lines) + "\n")
    (folder / "variants.txt").write_text("707-320\nDC 10\n")


def oxford_pets(root):
    folder = root / "oxford-iiit-pet"
    (folder / "annotations").mkdir(parents=True)
    for part, listed in (("train", "trainval"), ("test", "test")):
        lines = []
        for number, label in enumerate(LABELS):
            name = f"{('Abyssinian', 'great_dane')[label]}_{part}{number}"
            save_image(folder / "images" / f"{name}.jpg", part, label)
            lines.append(f"{name} {label + 1} {label + 1} 1")
        (folder / "annotations" / f"{listed}.txt").write_text("\n".join(lines) + "\n")


def food101(root):
    folder = root / "food-101"
    (folder / "meta").mkdir(parents=True)
    for part in ("train", "test"):
        listed = {
            name: [f"{name}/{part}{number}" for number in range(N_EACH)] for name in ("waffles", "apple_pie")
        }
        for name, paths in listed.items():
            for path in paths:
                save_image(folder / "images" / f"{path}.jpg", part, ("apple_pie", "waffles").index(name))
        (folder / "meta" / f"{part}.json").write_text(json.dumps(listed))


def dtd(root):
    folder = root / "dtd" / "dtd"
    (folder / "labels").mkdir(parents=True)
    for part in PARTS:
        lines = []
        for number, label in enumerate(LABELS):
            name = f"{('banded', 'zigzagged')[label]}/{part}{number}.jpg"
            save_image(folder / "images" / name, part, label)
            lines.append(name)
        (folder / "labels" / f"{part}1.txt").write_text("\n".join(lines) + "\n")


def gtsrb(root):
    save_class_folders(root / "gtsrb" / "GTSRB" / "Training", "train", ("00000", "00001"), ".ppm")
    images = root / "gtsrb" / "GTSRB" / "Final_Test" / "Images"
    lines = ["Filename;Width;Height;ClassId"]
    for number, label in enumerate(LABELS):
        save_image(images / f"{number:05d}.ppm", "test", label)
        lines.append(f"{number:05d}.ppm;12;12;{label}")
    (root / "gtsrb" / "GT-final_test.csv").write_text("\n".join(lines) + "\n")


def folders(parts, classes, suffix):
    def write(root):
        for part, folder in parts.items():
            save_class_folders(root / folder, part, classes, suffix)

    return write


def caltech101(root):
    folder = root / "caltech101" / "101_ObjectCategories"
    for label, name in enumerate(("accordion", "yin_yang")):
        for number in range(1, N_EACH + 1):
            save_image(folder / name / f"image_{number:04d}.jpg", "train", label)
    (folder / "BACKGROUND_Google").mkdir()


def caltech256(root):
    folder = root / "caltech256" / "256_ObjectCategories"
    for label, name in enumerate(("001.ak47", "002.american-flag")):
        for number in range(1, N_EACH + 1):
            save_image(folder / name / f"{label + 1:03d}_{number:04d}.jpg", "train", label)


def sun397(root):
    (root / "SUN397").mkdir()
    (root / "SUN397" / "ClassName.txt").write_text("/a/abbey\n/b/bar/indoor\n")
    for label, name in enumerate(("a/abbey", "b/bar/indoor")):
        for number in range(N_EACH):
            save_image(root / "SUN397" / name / f"sun_{number}.jpg", "train", label)


def imagenet(root):
    classes = ("n01440764", "n01443537")
    folders({"train": "train", "test": "val"}, classes, ".JPEG")(root)
    names = dict(zip(classes, (("tench", "Tinca tinca"), ("goldfish",)), strict=True))
    torch.save((names, []), root / "meta.bin")


def fer2013(root):
    (root / "fer2013").mkdir()
    with (root / "fer2013" / "fer2013.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["emotion", "pixels", "Usage"])
        for part, usage in (("train", "Training"), ("test", "PrivateTest")):
            for label, pixels in zip(LABELS, arrays(part, 48), strict=True):
                writer.writerow([label, " ".join(map(str, pixels.flatten())), usage])


def pcam(root):
    h5py = pytest.importorskip("h5py")
    (root / "pcam").mkdir()
    for part, name in (("train", "train"), ("val", "valid"), ("test", "test")):
        for letter, values in (
            ("x", arrays(part, 96, 3).transpose(0, 2, 3, 1)),
            ("y", LABELS.astype(np.uint8)[:, None, None, None]),
        ):
            with h5py.File(root / "pcam" / f"camelyonpatch_level_2_split_{name}_{letter}.h5", "w") as file:
                file[letter] = values


_IDX = {"train": "train", "test": "t10k"}
_SST2 = {
    part: f"rendered-sst2/{folder}" for part, folder in zip(PARTS, ("train", "valid", "test"), strict=True)
}
_COUNTRIES = {
    part: f"country211/{folder}" for part, folder in zip(PARTS, ("train", "valid", "test"), strict=True)
}

# What writes a data set's files, its parts, its images' channels and size (None: mixed), its classes.
FORMATS = {
    "CIFAR10": (
        cifar(
            "cifar-10-batches-py",
            {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]},
            *("batches.meta", "label_names", "labels"),
        ),
        *("train test", 3, 32, 2),
    ),
    "CIFAR100": (
        cifar(
            "cifar-100-python",
            {"train": ["train"], "test": ["test"]},
            *("meta", "fine_label_names", "fine_labels"),
        ),
        *("train test", 3, 32, 2),
    ),
    "Caltech101": (caltech101, "train", 3, 12, 2),
    "Caltech256": (caltech256, "train", 3, 12, 2),
    "Country211": (folders(_COUNTRIES, ("AD", "ZW"), ".jpg"), "train val test", 3, 12, 2),
    "DTD": (dtd, "train val test", 3, 12, 2),
    "EMNIST": (
        mnist("EMNIST", {"train": "emnist-balanced-train", "test": "emnist-balanced-test"}),
        *("train test", 1, 28, 47),
    ),
    "EuroSAT": (folders({"train": "eurosat/2750"}, ("Forest", "River"), ".jpg"), "train", 3, 12, 2),
    "FER2013": (fer2013, "train test", 1, 48, 2),
    "FGVCAircraft": (fgvc_aircraft, "train test", 3, 12, 2),
    "FashionMNIST": (mnist("FashionMNIST", _IDX), "train test", 1, 28, 10),
    "Flowers102": (flowers102, "train val test", 3, 12, 102),
    "Food101": (food101, "train test", 3, 12, 2),
    "GTSRB": (gtsrb, "train test", 3, 12, 2),
    "ImageNet": (imagenet, "train test", 3, 12, 2),
    "Imagenette": (
        folders(
            {"train": "imagenette2/train", "test": "imagenette2/val"}, ("n01440764", "n02102040"), ".jpeg"
        ),
        *("train test", 3, 12, 2),
    ),
    "KMNIST": (mnist("KMNIST", _IDX), "train test", 1, 28, 10),
    "MNIST": (mnist("MNIST", _IDX), "train test", 1, 28, 10),
    "OxfordIIITPet": (oxford_pets, "train test", 3, 12, 2),
    "PCAM": (pcam, "train val test", 3, 96, 2),
    "QMNIST": (qmnist, "train test", 1, 28, 10),
    "RenderedSST2": (folders(_SST2, ("negative", "positive"), ".png"), "train val test", 3, 12, 2),
    "STL10": (stl10, "train test", 3, 96, 2),
    "SUN397": (sun397, "train", 3, 12, 2),
    "SVHN": (svhn, "train test", 3, 32, 2),
    "StanfordCars": (stanford_cars, "train test", 3, 12, 2),
    "USPS": (usps, "train test", 1, 16, 2),
}
assert {*FORMATS, "SEMEION"} == {*TORCHVISION_DATASETS}


@pytest.fixture(autouse=True)
def any_checksum(monkeypatch):
    """Files must be there; what they hold is ours."""
    for module in vars(torchvision.datasets).values():
        if hasattr(module, "check_integrity"):
            original = module.check_integrity
            monkeypatch.setattr(module, "check_integrity", lambda path, md5=None, _o=original: _o(path))


def told(images):
    """What an image's shade says: the part that it was written for and its class."""
    means = images.double().mean((1, 2, 3))
    nearest = [min(SHADES, key=lambda known, mean=mean: abs(known - mean)) for mean in means.tolist()]
    assert np.abs(np.array(nearest) - means.numpy()).max() < 3
    return [SHADES[known] for known in nearest]


@pytest.mark.parametrize("name", FORMATS)
def test_images_labels_and_parts_belong_together(name, tmp_path):
    write, parts, n_channels, size, n_classes = FORMATS[name]
    write(tmp_path)
    data = load_dataset(Dataset(name=name, root=str(tmp_path), validation_size=2))
    assert (data.in_channels, data.image_size, data.num_classes) == (n_channels, size, n_classes)
    assert len(data.classes) == n_classes
    found = []
    for split in (data.train, data.validation, data.test):
        pairs = told(split.images)
        assert [label for _, label in pairs] == split.labels.tolist()
        found.append([part for part, _ in pairs])
    learnt, tested = [*found[0], *found[1]], found[2]
    assert len(data.validation) == 2
    written = parts.split()
    assert len(learnt) + len(tested) == len(written) * len(LABELS)
    if "test" in written:
        assert set(tested) == {"test"}
        assert set(learnt) == {*written} - {"test"}
    else:
        assert 0 < len(tested) < len(LABELS)


def test_cifar100_has_coarse_labels(tmp_path):
    cifar(
        "cifar-100-python", {"train": ["train"], "test": ["test"]}, "meta", "fine_label_names", "fine_labels"
    )(tmp_path)
    fine = sorted(name for members in CIFAR100_SUPERCLASSES.values() for name in members)
    (tmp_path / "cifar-100-python" / "meta").write_bytes(pickle.dumps({"fine_label_names": fine}))
    data = load_dataset(Dataset(name="CIFAR100", labels="coarse", root=str(tmp_path), validation_size=2))
    assert data.num_classes == 20
    fine_labels = [label for _, label in told(data.test.images)]
    coarse = {"apple": "fruit_and_vegetables", "aquarium_fish": "fish"}
    assert [data.classes[label] for label in data.test.labels] == [
        coarse[fine[label]] for label in fine_labels
    ]


def test_semeion_is_read_from_its_rows(tmp_path):
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 2, (20, 256)), np.arange(20) % 10
    rows = np.concatenate([pixels, np.eye(10, dtype=int)[labels]], axis=1)
    np.savetxt(tmp_path / "semeion.data", rows, fmt="%.4f")
    data = load_dataset(Dataset(name="SEMEION", root=str(tmp_path), validation_size=4))
    splits = (data.train, data.validation, data.test)
    found = {
        (image.tobytes(), label)
        for split in splits
        for image, label in zip(split.images.numpy(), split.labels.tolist(), strict=True)
    }
    written = (pixels.astype(np.uint8) * 255).reshape(20, 1, 16, 16)
    assert found == {(image.tobytes(), label) for image, label in zip(written, labels.tolist(), strict=True)}


def test_fer2013_without_the_tests_labels_is_refused(tmp_path):
    (tmp_path / "fer2013").mkdir()
    for name, header, row in (("train", "emotion,pixels", "0,"), ("test", "pixels", "")):
        lines = [header, *[row + " ".join(["7"] * 48 * 48)] * 4]
        (tmp_path / "fer2013" / f"{name}.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(RequestError, match=r"The labels of FER2013 must be"):
        load_dataset(Dataset(name="FER2013", root=str(tmp_path), validation_size=1))

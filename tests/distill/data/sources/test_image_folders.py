import numpy as np
import pytest
import torch
from PIL import Image

from kdsearch.distill.data.dataset import load_dataset
from kdsearch.errors import RequestError
from kdsearch.spec.sections import Dataset

CLASSES = ("cat", "dog")


def write_classes(folder, classes=CLASSES, n=10, ending="png"):
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(n):
            shade = 40 + 150 * label + number
            Image.new("RGB", (6, 6), (shade,) * 3).save(folder / name / f"{number}.{ending}")


def load(root, **others):
    return load_dataset(Dataset(name="imagefolder", root=str(root), validation_size=4), **others)


def sizes(data):
    return len(data.train), len(data.validation), len(data.test)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (["Train", "Test"], (16, 4, 20)),
        (["training", "testing"], (16, 4, 20)),
        (["TRAIN", "valid"], (16, 4, 20)),
        (["train", "Validation", "test"], (36, 4, 20)),
        (["train"], (12, 4, 4)),
    ],
)
def test_parts_are_known_by_their_usual_names(parts, expected, tmp_path):
    for part in parts:
        write_classes(tmp_path / part)
    data = load(tmp_path)
    assert data.classes == CLASSES
    assert sizes(data) == expected


def test_a_class_may_be_called_as_a_part_is(tmp_path):
    for classes in (("car", "train"), ("test_negative", "test_positive")):
        write_classes(tmp_path / classes[0], classes)
        assert load(tmp_path / classes[0]).classes == classes


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["val", "test"], "must hold `train` beside"),
        (["train", "Train"], "one folder of each part"),
        (["train", "test", "holdout"], "'holdout' beside"),
        (["seg_train", "seg_test"], "Rename it"),
        (["tr", "te"], "hold the same folders"),
        (["fold1", "fold2", "fold3"], "hold the same folders"),
        (["\u8a13\u7df4", "\u691c\u8a3c"], "hold the same folders"),
    ],
)
def test_parts_that_are_unclear_are_refused(folders, message, tmp_path):
    for folder in folders:
        write_classes(tmp_path / folder)
    with pytest.raises(RequestError, match=message):
        load(tmp_path)


@pytest.mark.parametrize(
    "parts", [("train", "test"), ("Training", "validation", "test"), ("train_images", "val_images")]
)
def test_parts_without_folders_of_classes_are_no_classes(parts, tmp_path):
    """As of a competition, whose labels are in a table beside them."""
    write_classes(tmp_path, parts)
    (tmp_path / "train.csv").write_text("image,label\n0.png,cat\n")
    with pytest.raises(RequestError, match=f"'{parts[0]}'.* parts by their names"):
        load(tmp_path)


@pytest.mark.parametrize("twin", ["cat ", "c\u200bat"])
def test_classes_that_look_the_same_are_refused(twin, tmp_path):
    write_classes(tmp_path, ("cat", twin, "dog"))
    with pytest.raises(RequestError, match=r"can be told apart, .* look the same"):
        load(tmp_path)


def test_classes_may_be_letters_in_both_cases(tmp_path):
    write_classes(tmp_path, ("A", "a"))
    assert load(tmp_path).classes == ("A", "a")


def test_classes_of_the_same_folders_are_read_as_the_refusal_says(tmp_path):
    for place in (tmp_path / "direct", tmp_path / "told" / "train"):
        write_classes(place / "cat", ("left", "right"))
        write_classes(place / "dog", ("left", "right"))
    with pytest.raises(RequestError, match="if they are classes, put them all into one folder `train` there"):
        load(tmp_path / "direct")
    assert load(tmp_path / "told").classes == ("cat", "dog")


def test_classes_that_differ_between_parts_are_named(tmp_path):
    write_classes(tmp_path / "train")
    write_classes(tmp_path / "test", ("cat", "wolf"))
    with pytest.raises(RequestError, match="'test' lacks 'dog' and has 'wolf'"):
        load(tmp_path)


def test_companions_of_other_systems_are_passed_over(tmp_path):
    write_classes(tmp_path)
    before = load(tmp_path)
    write_classes(tmp_path / "__MACOSX")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / "cat" / ".ipynb_checkpoints").mkdir()
    for place in (tmp_path / ".ipynb_checkpoints", tmp_path / "cat", tmp_path / "cat" / ".ipynb_checkpoints"):
        (place / "._0.png").write_bytes(b"\0\5\x16\7")
    after = load(tmp_path)
    assert after.classes == CLASSES
    assert torch.equal(after.train.images, before.train.images)
    assert after.fingerprint == before.fingerprint


@pytest.mark.parametrize(
    ("dtype", "scale", "ending", "white"), [(np.uint16, 250, "png", 65535), (np.float32, 1 / 255, "tif", 1)]
)
def test_deep_images_keep_their_shades(dtype, scale, ending, white, tmp_path):
    rng = np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        (tmp_path / name).mkdir()
        for number in range(10):
            shades = (rng.integers(0, 100, (6, 6)) + 100 * label).astype(float) * scale
            Image.fromarray(shades.astype(dtype)).save(tmp_path / name / f"{number}.{ending}")
    data = load(tmp_path)
    brightness = data.test.images.double().mean((1, 2, 3)) / 255 * white / scale
    assert torch.equal((brightness > 99).long(), data.test.labels)
    assert brightness[data.test.labels == 0].mean().item() == pytest.approx(49.5, abs=6)


def test_a_picture_is_turned_as_its_exif_says(tmp_path):
    write_classes(tmp_path, ending="jpg")
    upright = np.zeros((8, 8), np.uint8)
    upright[:, :4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in CLASSES:
        for number in range(10):
            Image.fromarray(np.rot90(upright).copy()).save(tmp_path / name / f"{number}.jpg", exif=exif)
    image = load(tmp_path).train.images[0, 0].double()
    assert image[:, :4].mean() > 200
    assert image[:, 4:].mean() < 50


@pytest.fixture
def damaged(tmp_path):
    write_classes(tmp_path)
    (tmp_path / "cat/2.png").write_text("<html>404</html>")
    (tmp_path / "cat/3.png").write_bytes(b"")
    file = tmp_path / "dog/4.png"
    file.write_bytes(file.read_bytes()[:-30])
    (tmp_path / "dog/5.png").unlink()
    (tmp_path / "dog/5.png").symlink_to("/nowhere.png")
    return tmp_path


@pytest.mark.parametrize("memory_limit_bytes", [2**30, 1])
def test_bad_files_are_named_with_their_count(damaged, memory_limit_bytes):
    dataset = Dataset(name="imagefolder", root=str(damaged), train_size=14, validation_size=2)
    with pytest.raises(RequestError, match=r"4 that can't|3 that can't|2 that can't|1 that can't") as told:
        load_dataset(dataset, memory_limit_bytes=memory_limit_bytes)
    assert ".png (" in str(told.value)
    assert "\n" not in str(told.value)


def test_all_bad_files_are_named(damaged):
    bad = ("cat/2.png", "cat/3.png", "dog/4.png", "dog/5.png")
    for name in ("train", "test"):
        (damaged / name).mkdir()
    for name in CLASSES:
        (damaged / name).rename(damaged / "train" / name)
    write_classes(damaged / "test")
    with pytest.raises(RequestError) as told:
        load_dataset(Dataset(name="imagefolder", root=str(damaged), train_size=18, validation_size=2))
    assert "got 4 that can't" in str(told.value)
    assert all(name in str(told.value) for name in bad)


def test_bad_files_are_skipped_where_asked(damaged):
    dataset = Dataset(name="imagefolder", root=str(damaged), validation_size=4, skip_bad=True)
    data = load_dataset(dataset)
    assert sum(sizes(data)) == 16
    assert "4 images can't be read and are left out" in data.notes[0]
    shades = data.test.images.double().mean((1, 2, 3))
    assert torch.equal((shades > 120).long(), data.test.labels)


def test_a_huge_image_is_named(tmp_path):
    write_classes(tmp_path)
    Image.new("1", (14000, 14000)).save(tmp_path / "cat/0.png")
    with pytest.raises(RequestError, match=r"cat/0\.png \(DecompressionBombError"):
        load(tmp_path)


def test_one_class_is_refused(tmp_path):
    write_classes(tmp_path, ("cat",))
    with pytest.raises(RequestError, match="at least two classes, got 'cat' alone"):
        load(tmp_path)

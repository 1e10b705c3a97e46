import json

import pytest
import torch

from kdsearch.distill.data.labels import CIFAR100_SUPERCLASSES, merge_labels
from kdsearch.errors import RequestError
from kdsearch.spec.sections import Dataset

# The superclass of each of CIFAR-100's classes, in the order of its own label files.
COARSE_OF_FINE = [
    *(4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7),
    *(6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10),
    *(16, 4, 17, 4, 2, 0, 17, 4, 18, 17, 10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16),
    *(12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13),
]
CIFAR100_CLASSES = tuple(sorted(fine for members in CIFAR100_SUPERCLASSES.values() for fine in members))
LABELS = torch.tensor([0, 1, 2, 2])
CLASSES = ("cat", "dog", "car")


def merged(mapping, tmp_path, classes=CLASSES, name="labels.json"):
    file = tmp_path / name
    file.write_text(mapping if isinstance(mapping, str) else json.dumps(mapping))
    return merge_labels(LABELS, classes, Dataset(labels=str(file)))


def test_cifar100_superclasses_are_the_official_ones():
    assert len(CIFAR100_CLASSES) == len(set(CIFAR100_CLASSES)) == 100
    labels, names = merge_labels(
        torch.arange(100), CIFAR100_CLASSES, Dataset(name="CIFAR100", labels="coarse")
    )
    assert labels.tolist() == COARSE_OF_FINE
    assert list(names) == list(CIFAR100_SUPERCLASSES)


def test_fine_labels_stay():
    labels, names = merge_labels(LABELS, None, Dataset())
    assert torch.equal(labels, LABELS)
    assert names == ("0", "1", "2")


def test_a_file_maps_classes_by_name(tmp_path):
    labels, names = merged({"cat": "pet", "dog": "pet", "car": "machine"}, tmp_path)
    assert names == ("machine", "pet")
    assert labels.tolist() == [1, 1, 0, 0]


def test_a_yaml_file_maps_classes_by_index_and_keeps_the_order_of_numbers(tmp_path):
    labels, names = merged("0: 10\n1: 9\n2: 10\n", tmp_path, classes=None, name="labels.yaml")
    assert names == ("9", "10")
    assert labels.tolist() == [1, 0, 1, 1]


def test_a_class_without_a_coarse_one_is_named(tmp_path):
    with pytest.raises(RequestError, match=r"`dataset\.labels` must map every class, .* without car"):
        merged({"cat": "pet", "dog": "pet"}, tmp_path)


@pytest.mark.parametrize("text", ["- 1\n", "{"])
def test_a_file_without_a_mapping_is_refused(tmp_path, text):
    with pytest.raises(RequestError, match=r"`dataset\.labels` must"):
        merged(text, tmp_path)


@pytest.mark.parametrize(
    ("classes", "name"),
    [
        (("yes", "no", "off"), "labels.yaml"),
        (("001", "010", "2"), "labels.yaml"),
        (("1.0", "1.10", "1e3"), "labels.yaml"),
        (("12:30", "13:30", "null"), "labels.yaml"),
        (("yes", "001", "null"), "labels.json"),
    ],
)
def test_keys_are_the_names_of_folders(classes, name, tmp_path):
    file = {first: "ab"[number > 0] for number, first in enumerate(classes)}
    text = json.dumps(file) if name.endswith("json") else "".join(f"{k}: {v}\n" for k, v in file.items())
    labels, names = merged(text, tmp_path, classes=classes, name=name)
    assert names == ("a", "b")
    assert labels.tolist() == [0, 1, 1, 1]


def test_coarse_classes_are_texts_as_they_stand(tmp_path):
    labels, names = merged("cat: no\ndog: 010\ncar: 'null'\n", tmp_path, name="labels.yaml")
    assert names == ("010", "no", "null")
    assert labels.tolist() == [1, 0, 2, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cat: a\ndog: b\ncar: b\ncat: b\n", "each class once, .*'cat' twice"),
        ('{"cat": "a", "dog": "b", "car": "b", "cat": "b"}', "each class once, .*'cat' twice"),
        ("cat: a\ndog:\ncar: b\n", "that of 'dog' is none"),
        ("cat: a\ndog: null\ncar: b\n", "that of 'dog' is none"),
        ("cat: a\ndog: [a, b]\ncar: b\n", "that of 'dog' is none"),
        ('{"cat": "a", "dog": ["a"], "car": "b"}', "that of 'dog' is none"),
        ("cat: a\ndog: a\ncar: a\n", "at least two classes, .*all in 'a'"),
        ("class,coarse\ncat,a\ndog,b\n", "name a file with a mapping.*`class: its coarse class`"),
        ("0: a\n1: b\ncat: a\n", "without dog, car"),
        ("0: a\n1: b\n2: b\n3: b\n", "number each class once from 0, .* with '3' for 3 classes"),
        (
            "cat: Animal\ndog: animal\ncar: machine\n",
            "one name for each coarse class, .*'Animal' and 'animal'",
        ),
        ("cat: 'a '\ndog: a\ncar: b\n", "'a ' and 'a'"),
        ("cat: caf\u00e9\ndog: cafe\u0301\ncar: b\n", "one name for each coarse class"),
    ],
)
def test_a_file_that_is_unclear_is_refused_in_one_line(text, message, tmp_path):
    with pytest.raises(RequestError, match=rf"`dataset\.labels` must .*{message}") as told:
        merged(text, tmp_path, name="labels.yaml")
    assert "\n" not in str(told.value)


def test_accents_of_a_folders_name_are_one_however_they_are_written(tmp_path):
    """macOS takes letters and accents apart."""
    labels, _ = merged(
        "caf\u00e9: a\ndog: b\ncar: b\n", tmp_path, ("cafe\u0301", "dog", "car"), "labels.yaml"
    )
    assert labels.tolist() == [0, 1, 1, 1]


def test_a_file_in_another_encoding_is_told_with_what_to_do(tmp_path):
    (tmp_path / "labels.yaml").write_bytes("caf\u00e9: a\n".encode("latin-1"))
    with pytest.raises(RequestError, match="it is no UTF-8 text; save it as UTF-8"):
        merge_labels(LABELS, CLASSES, Dataset(labels=str(tmp_path / "labels.yaml")))


def test_missing_file_is_refused():
    with pytest.raises(RequestError, match=r"`dataset\.labels` must be fine, coarse or a JSON or YAML file"):
        merge_labels(LABELS, CLASSES, Dataset(labels="nowhere.json"))


def test_coarse_needs_cifar100():
    with pytest.raises(RequestError, match="CIFAR100 alone"):
        merge_labels(LABELS, CLASSES, Dataset(labels="coarse"))

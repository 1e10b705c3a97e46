"""How fine labels are: as the data set has them, or merged into coarser classes."""

import unicodedata
from collections.abc import Mapping

import torch
from jaxtyping import Int64
from torch import Tensor

from kdsearch.distill.data.label_files import read_label_file
from kdsearch.errors import RequestError
from kdsearch.spec.sections import Dataset
from kdsearch.spec.space import alike_pair

# CIFAR-100's superclasses as its authors publish them: 20 of 5 classes each.
CIFAR100_SUPERCLASSES = {
    "aquatic_mammals": ("beaver", "dolphin", "otter", "seal", "whale"),
    "fish": ("aquarium_fish", "flatfish", "ray", "shark", "trout"),
    "flowers": ("orchid", "poppy", "rose", "sunflower", "tulip"),
    "food_containers": ("bottle", "bowl", "can", "cup", "plate"),
    "fruit_and_vegetables": ("apple", "mushroom", "orange", "pear", "sweet_pepper"),
    "household_electrical_devices": ("clock", "keyboard", "lamp", "telephone", "television"),
    "household_furniture": ("bed", "chair", "couch", "table", "wardrobe"),
    "insects": ("bee", "beetle", "butterfly", "caterpillar", "cockroach"),
    "large_carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
    "large_man-made_outdoor_things": ("bridge", "castle", "house", "road", "skyscraper"),
    "large_natural_outdoor_scenes": ("cloud", "forest", "mountain", "plain", "sea"),
    "large_omnivores_and_herbivores": ("camel", "cattle", "chimpanzee", "elephant", "kangaroo"),
    "medium_mammals": ("fox", "porcupine", "possum", "raccoon", "skunk"),
    "non-insect_invertebrates": ("crab", "lobster", "snail", "spider", "worm"),
    "people": ("baby", "boy", "girl", "man", "woman"),
    "reptiles": ("crocodile", "dinosaur", "lizard", "snake", "turtle"),
    "small_mammals": ("hamster", "mouse", "rabbit", "shrew", "squirrel"),
    "trees": ("maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"),
    "vehicles_1": ("bicycle", "bus", "motorcycle", "pickup_truck", "train"),
    "vehicles_2": ("lawn_mower", "rocket", "streetcar", "tank", "tractor"),
}


def merge_labels(
    labels: Int64[Tensor, " N"], classes: tuple[str, ...] | None, dataset: Dataset
) -> tuple[Int64[Tensor, " N"], tuple[str, ...]]:
    """Return the labels and class names at a spec's granularity.

    `dataset.labels` is `fine`, `coarse` (CIFAR100) or a JSON or YAML file that maps every class, by
    name or index, to its coarse class. Coarse classes are numbered in the order of their names.

    Raises:
        RequestError: The data set has no coarse labels, or the file does not map every class.
    """
    n_fine = max(int(labels.max()) + 1, len(classes or ()))
    fine = classes or tuple(str(index) for index in range(n_fine))
    if dataset.labels == "fine":
        return labels, fine
    coarse = _mapped(fine, _coarse_mapping(dataset), dataset)
    names = sorted(set(coarse), key=_number_or_text)
    if len(names) < 2:
        raise RequestError(
            f"`dataset.labels` must leave at least two classes, got {dataset.labels!r}, which puts all in "
            f"{names[0]!r}. Name more of them."
        )
    table = torch.tensor([names.index(name) for name in coarse])
    return table[labels], tuple(names)


def _coarse_mapping(dataset: Dataset) -> Mapping[str, str]:
    if dataset.labels != "coarse":
        return read_label_file(dataset.labels)
    if dataset.name != "CIFAR100":
        raise RequestError(
            f"`dataset.labels` must be fine or a mapping file for {dataset.name!r}, got 'coarse'. "
            "CIFAR100 alone brings coarse labels; for others write a file with a line `class: its coarse "
            "class` for each class."
        )
    return {fine: coarse for coarse, members in CIFAR100_SUPERCLASSES.items() for fine in members}


def _mapped(fine: tuple[str, ...], mapping: Mapping[str, str], dataset: Dataset) -> list[str]:
    """Return the coarse class of each class. A mapping names all classes, or numbers all of them from 0."""
    mapping = {_composed(name): coarse for name, coarse in mapping.items()}
    names = list(map(_composed, fine))
    by_index = not any(name in mapping for name in names)
    keys = [str(index) for index in range(len(fine))] if by_index else names
    missing = [name for name, key in zip(fine, keys, strict=True) if key not in mapping]
    if missing:
        raise RequestError(
            f"`dataset.labels` must map every class, got {dataset.labels!r} without {', '.join(missing[:5])}"
            f"{' …' if len(missing) > 5 else ''}. Add them."
        )
    others = [name for name in mapping if name not in keys]
    if by_index and others:
        raise RequestError(
            f"`dataset.labels` must number each class once from 0, got {dataset.labels!r} with {others[0]!r} "
            f"for {len(fine)} classes. Is it another data set's? Write the classes' names."
        )
    coarse = [mapping[key] for key in keys]
    if pair := alike_pair(coarse, in_any_case=True):
        raise RequestError(
            f"`dataset.labels` must write one name for each coarse class, got {dataset.labels!r} with "
            f"{pair[0]!a} and {pair[1]!a}. Write them alike, or let them differ in more than case and spaces."
        )
    return coarse


def _composed(name: str) -> str:
    """Return a name with letters and accents as one, which macOS takes apart."""
    return unicodedata.normalize("NFC", name)


def _number_or_text(name: str) -> tuple[float, str]:
    """Return a sort key, numbers by value before texts. `1` and `01` differ by their text."""
    return (int(name) if name.isdecimal() else float("inf"), name)

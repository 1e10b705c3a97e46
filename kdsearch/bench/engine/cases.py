"""What the engine is measured on: students, teachers and data that one core can bear, and a GPU's."""

from dataclasses import dataclass

import numpy as np
from torch import nn

from kdsearch.bench.engine.images import PATTERNED
from kdsearch.spec import TrainingSpec

BATCH_SIZE = 128  # usual for images of this size
PACK_SIZES = (1, 4, 8, 16)  # one alone, usual sizes, and a large one; by hand
_CIFAR_SHAPED = f"{__name__}:cifar_shaped"


@dataclass(frozen=True)
class Case:
    """A student and its teacher on images of one kind.

    An epoch has `train_size` of them. It is measured in packs of `sizes`.
    """

    name: str
    student: str
    teacher: str
    dataset: str
    image_size: int
    train_size: int
    batch_size: int = BATCH_SIZE
    sizes: tuple[int, ...] = PACK_SIZES

    def spec(self) -> TrainingSpec:
        """Return the case as plain distillation from an untrained teacher.

        What a teacher has learned does not change how long it takes.
        """
        size, validation = self.train_size, self.train_size // 4
        return TrainingSpec.model_validate(
            {
                "dataset": {
                    "name": self.dataset,
                    "image_size": self.image_size,
                    "train_size": size,
                    "validation_size": validation,
                },
                "augment": {"crop_padding": self.image_size // 8, "flip": True},
                "student": {"arch": self.student},
                "teacher": {"arch": self.teacher, "finetune": {"epochs": 0, "head_epochs": 1}},
                "training": {"epochs": 100, "batch_size": self.batch_size},
            }
        )


CASES = {
    case.name: case
    for case in (
        Case("mlp", "mlp_64_32", "resnet20", "digits", 16, 1024),
        Case("convnet", "convnet_8_16", "resnet20", "digits", 16, 1024),
        Case("resnet8", "resnet8", "resnet20", "digits", 16, 512),
        Case("vit", "vit_32_2", "resnet20", "digits", 16, 512),
        Case("resnet8-cifar", "resnet8", "resnet20", _CIFAR_SHAPED, 32, 128),
        Case("resnet20-cifar", "resnet20", "resnet56", _CIFAR_SHAPED, 32, 128),
    )
}


_SMALL, _N_SMALL = 32, 18_000  # CIFAR's shape, and enough images that a turn is no noise
_LARGE, _N_LARGE, _LARGE_BATCH = 224, 2_000, 64  # ImageNet's
_VIT_TINY = f"{__name__}:vit_tiny"


def _of_cifar(student: str, teacher: str, *sizes: int) -> Case:
    return Case(student, student, teacher, PATTERNED, _SMALL, _N_SMALL, sizes=sizes)


def _of_imagenet(name: str, student: str) -> Case:
    teacher = "torchvision:resnet50"
    return Case(name, student, teacher, PATTERNED, _LARGE, _N_LARGE, _LARGE_BATCH, sizes=(4,))


GPU_CASES = {
    case.name: case
    for case in (
        _of_cifar("resnet8x4", "resnet32x4", 1, 8),
        _of_cifar("resnet20", "resnet56", 1, 8),
        _of_cifar("wrn_16_2", "wrn_40_2", 1, 8),
        _of_cifar("vit_32_2", "resnet20", 1, 8),
        _of_imagenet("resnet18-224", "torchvision:resnet18"),
        _of_imagenet("vit_tiny-224", _VIT_TINY),
        _of_cifar("mlp_64_32", "resnet20", 16),
    )
}


def vit_tiny(num_classes: int, image_size: int) -> nn.Module:
    """Return the vision transformer of 5.7 million parameters that DeiT calls tiny."""
    from torchvision.models import VisionTransformer  # a second of CPU time that others need not spend

    width = 192
    model: nn.Module = VisionTransformer(
        image_size=image_size,
        patch_size=16,
        num_layers=12,
        num_heads=3,
        hidden_dim=width,
        mlp_dim=4 * width,
        num_classes=num_classes,
    )
    return model


def cifar_shaped() -> tuple[tuple[np.ndarray, np.ndarray], None]:
    """Return a data set of noise in CIFAR-10's shape."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (1024, 32, 32, 3), dtype=np.uint8)
    return (images, np.arange(len(images)) % 10), None

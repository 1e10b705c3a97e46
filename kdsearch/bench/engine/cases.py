"""What the engine is measured on: students, teachers and data of a size that one core can bear."""

from dataclasses import dataclass

import numpy as np

from kdsearch.spec import TrainingSpec

BATCH_SIZE = 128
_CIFAR_SHAPED = f"{__name__}:cifar_shaped"


@dataclass(frozen=True)
class Case:
    """A student and its teacher on images of one kind, `train_size` of them in an epoch."""

    name: str
    student: str
    teacher: str
    dataset: str
    image_size: int
    train_size: int

    def spec(self) -> TrainingSpec:
        """Return the case as a training of plain distillation, with an untrained teacher.

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
                "training": {"epochs": 100, "batch_size": BATCH_SIZE},
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


def cifar_shaped() -> tuple[tuple[np.ndarray, np.ndarray], None]:
    """Return a data set of noise in CIFAR-10's shape."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (1024, 32, 32, 3), dtype=np.uint8)
    return (images, np.arange(len(images)) % 10), None

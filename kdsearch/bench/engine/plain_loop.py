"""The loop that a user writes from torch's documentation: the baseline of the engine's benchmark."""

from typing import Any

import torch
import torch.nn.functional as F
import torchvision.transforms.v2 as transforms
from PIL import Image
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader, Dataset

from kdsearch.distill.data.dataset import ImageData, Split
from kdsearch.distill.execution import Precision
from kdsearch.spec import TrainingSpec

_AHEAD: dict[str, Any] = {"num_workers": 8, "pin_memory": True, "persistent_workers": True}


class PillowImages(Dataset[tuple[Tensor, int]]):
    """Images as torchvision's data sets hold them: arrays that become PIL images one by one."""

    def __init__(self, split: Split, transform: Any) -> None:
        images = split.images
        if not isinstance(images, Tensor):
            raise TypeError("The benchmark's images lie in memory.")
        self._images = images.permute(0, 2, 3, 1).squeeze(-1).numpy()
        self._labels = split.labels.tolist()
        self._transform = transform

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return a transformed image and its label."""
        return self._transform(Image.fromarray(self._images[index])), self._labels[index]


class PlainLoop:
    """One student with a DataLoader, PIL transforms and a teacher.

    The teacher's forward pass is run in every step. On CUDA as the documentation would have it: workers that
    read ahead, pinned memory and bf16 autocast.
    """

    def __init__(
        self,
        spec: TrainingSpec,
        data: ImageData,
        student: nn.Module,
        teacher: nn.Module,
        device: torch.device,
    ) -> None:
        flips = [transforms.RandomHorizontalFlip()] if spec.augment.flip else []
        plain = [
            transforms.ToImage(),
            transforms.ToDtype(torch.float32, scale=True),
            transforms.Normalize(data.mean, data.std),
        ]
        crop = transforms.RandomCrop(data.image_size, padding=spec.augment.crop_padding)
        transform = transforms.Compose([crop, *flips, *plain])
        self._loader = DataLoader(
            PillowImages(data.train, transform),
            batch_size=spec.training.batch_size,
            shuffle=True,
            **(_AHEAD if device.type == "cuda" else {}),
        )
        self._context = Precision.of(spec.training.precision, device).context()
        self._student, self._teacher = student.to(device), teacher.to(device).eval()
        self._device = device
        self._optimizer = _optimizer(spec, student)
        self._schedule = CosineAnnealingLR(self._optimizer, spec.training.epochs)
        self._validation = DataLoader(
            PillowImages(data.validation, transforms.Compose(plain)), batch_size=spec.training.batch_size
        )
        self._temperature, self._alpha = spec.objective.temperature, spec.objective.alpha

    def run_epoch(self) -> None:
        """Train the student for an epoch."""
        self._student.train()
        for images, labels in self._loader:
            self._step(self._moved(images), self._moved(labels))
        self._schedule.step()

    def validation_accuracy(self) -> float:
        """Return the share of validation images that the student gets right."""
        self._student.eval()
        with torch.no_grad():
            right = [
                self._student(images.to(self._device)).argmax(1) == labels.to(self._device)
                for images, labels in self._validation
            ]
        return float(torch.cat(right).float().mean())

    def _moved(self, values: Tensor) -> Tensor:
        return values.to(self._device, non_blocking=True)

    def _step(self, images: Tensor, labels: Tensor) -> None:
        temperature = self._temperature
        with self._context:
            with torch.no_grad():
                targets = F.softmax(self._teacher(images) / temperature, dim=1)
            logits = self._student(images)
            soft = F.kl_div(F.log_softmax(logits / temperature, dim=1), targets, reduction="batchmean")
            hard = F.cross_entropy(logits, labels)
        loss = self._alpha * temperature**2 * soft + (1 - self._alpha) * hard
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        self._optimizer.step()


def _optimizer(spec: TrainingSpec, student: nn.Module) -> torch.optim.Optimizer:
    chosen = spec.optimizer
    if chosen.name == "adamw":
        return torch.optim.AdamW(student.parameters(), lr=chosen.lr, weight_decay=chosen.weight_decay)
    return torch.optim.SGD(
        student.parameters(), lr=chosen.lr, momentum=chosen.momentum, weight_decay=chosen.weight_decay
    )

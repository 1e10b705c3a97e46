"""The loop that a user writes from torch's documentation: the baseline of the engine's benchmark."""

from typing import Any

import torch
import torch.nn.functional as F
import torchvision.transforms.v2 as transforms
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from kdsearch.distill.data import ImageData
from kdsearch.spec import TrainingSpec


class PillowImages(Dataset[tuple[Tensor, int]]):
    """Images as torchvision's data sets hold them: arrays that become PIL images one by one."""

    def __init__(self, data: ImageData, transform: Any) -> None:
        images = data.train.images
        if not isinstance(images, Tensor):
            raise TypeError("The benchmark's images lie in memory.")
        self._images = images.permute(0, 2, 3, 1).squeeze(-1).numpy()
        self._labels = data.train.labels.tolist()
        self._transform = transform

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return a transformed image and its label."""
        return self._transform(Image.fromarray(self._images[index])), self._labels[index]


class PlainLoop:
    """One student, a DataLoader, PIL transforms, and the teacher's forward pass in every step."""

    def __init__(
        self,
        spec: TrainingSpec,
        data: ImageData,
        student: nn.Module,
        teacher: nn.Module,
        device: torch.device,
    ) -> None:
        transform = transforms.Compose(
            [
                transforms.RandomCrop(data.image_size, padding=spec.augment.crop_padding),
                transforms.RandomHorizontalFlip(),
                transforms.ToImage(),
                transforms.ToDtype(torch.float32, scale=True),
                transforms.Normalize(data.mean, data.std),
            ]
        )
        self._loader = DataLoader(
            PillowImages(data, transform), batch_size=spec.training.batch_size, shuffle=True
        )
        self._student, self._teacher = student.to(device), teacher.to(device).eval()
        self._device = device
        self._optimizer = torch.optim.SGD(student.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
        self._temperature, self._alpha = spec.objective.temperature, spec.objective.alpha

    def run_epoch(self) -> None:
        """Train the student for an epoch."""
        self._student.train()
        for images, labels in self._loader:
            self._step(images.to(self._device), labels.to(self._device))

    def _step(self, images: Tensor, labels: Tensor) -> None:
        temperature = self._temperature
        with torch.no_grad():
            targets = F.softmax(self._teacher(images) / temperature, dim=1)
        logits = self._student(images)
        soft = F.kl_div(F.log_softmax(logits / temperature, dim=1), targets, reduction="batchmean")
        hard = F.cross_entropy(logits, labels)
        loss = self._alpha * temperature**2 * soft + (1 - self._alpha) * hard
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        self._optimizer.step()

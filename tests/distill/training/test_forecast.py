import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kdsearch.distill.models import build_model
from kdsearch.distill.optim.optimizers import build_optimizer
from kdsearch.distill.training import size as module
from kdsearch.distill.training.size import forecast, member_bytes
from kdsearch.spec import TrainingSpec

SPEC = TrainingSpec.model_validate(
    {
        "dataset": {"name": "digits", "train_size": 100, "validation_size": 50},
        "student": {"arch": "convnet_8_16"},
        "training": {"epochs": 5},
    }
)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop"])
def test_a_members_bytes_are_what_training_it_allocates(name):
    spec = SPEC.with_values({"optimizer.name": name})
    model = build_model("convnet_8_16", 10, 1, image_size=8)
    optimizer = build_optimizer([list(model.parameters())], [spec.optimizer])
    model(torch.randn(2, 1, 8, 8)).sum().backward()
    optimizer.step()
    held = [*model.parameters(), *model.buffers(), *(p.grad for p in model.parameters())]
    held += [
        v for state in optimizer.state.values() for key, v in state.items() if key != "step" and v is not None
    ]
    assert member_bytes(spec, model) == sum(tensor.nbytes for tensor in held)


def test_a_forecast_counts_examples_and_stored_logits():
    found = forecast(SPEC)
    assert found.n_train == 100
    assert found.n_validation == 50
    flips = torch.rand(20_000, 50, generator=torch.Generator().manual_seed(0)) < 0.9
    assert found.validation_error == pytest.approx(flips.double().mean(1).std().item(), rel=0.03)
    assert found.soft_target_bytes == 5 * (100 * 10 * 2 + 100 * 4 + 32)  # logits, maxima, a digest
    assert found.n_parameters == sum(p.numel() for p in build_model("convnet_8_16", 10, 1).parameters())
    assert found.why_looped is None


def test_a_forecast_says_why_a_student_is_looped(monkeypatch):
    class Random(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(64, 10)

        def forward(self, images):
            return F.dropout(self.fc(images.flatten(1)), 0.5, self.training)

    monkeypatch.setattr(module, "build_prepared", lambda *_, **__: Random())
    assert "random numbers" in forecast(SPEC).why_looped

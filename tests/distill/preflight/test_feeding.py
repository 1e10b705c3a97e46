"""A checkpoint that is fed with other pixels than it was trained on is no teacher: it is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from kdsearch.distill.preflight.trainings import Preflight
from kdsearch.errors import RequestError
from kdsearch.spec import TrainingSpec

SIZE, SHADES = 4, {"black": 0.1, "grey": 0.5, "white": 0.9}


@pytest.fixture
def asked(tmp_path):
    """Return a study of three shades, whose teacher tells them apart by pixels from 0 to 1."""
    for part, n in (("train", 40), ("test", 4)):
        for name, shade in SHADES.items():
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for index in range(n):
                Image.fromarray(np.full((SIZE, SIZE), round(255 * shade), np.uint8)).save(
                    folder / f"{index}.png"
                )
    mean = torch.full((1, SIZE**2), 1 / SIZE**2)
    weights = {
        "layers.0.weight": torch.cat([mean, mean]),
        "layers.0.bias": torch.tensor([-0.3, -0.7]),
        "fc.weight": torch.tensor([[0.0, 0.0], [10.0, 0.0], [5.0, 30.0]]),
        "fc.bias": torch.tensor([0.0, -0.1, -0.2]),
    }
    torch.save(weights, tmp_path / "teacher.pth")

    def ask(**teacher):
        return TrainingSpec.model_validate(
            {
                "dataset": {"name": "imagefolder", "root": str(tmp_path), "validation_size": 60},
                "student": {"arch": "mlp_2"},
                "teacher": {
                    "arch": "mlp_2",
                    "pretraining": {"checkpoint": str(tmp_path / "teacher.pth")},
                    "finetune": {"epochs": 0},
                    **teacher,
                },
            }
        )

    return ask


def notes_of(training):
    checks = Preflight()
    checks.check_all([(training, (1.0, 4.0))])
    return " ".join(checks.notes)


def test_it_is_refused_with_the_pixels_that_it_knows(asked):
    with pytest.raises(
        RequestError, match=r"`teacher.preprocessing` .* 67% .* \{mean: \[0\], std: \[1\]\} 100%"
    ):
        notes_of(asked())


@pytest.mark.parametrize(
    ("said", "share"),
    [({"mean": [0.0], "std": [1.0]}, "100%"), ("data", "67%")],
    ids=["its own", "insisting"],
)
def test_what_the_study_file_says_is_taken_and_how_much_is_right_is_told(asked, said, share):
    assert f"gets {share} of 60 validation images right" in notes_of(asked(preprocessing=said))


def test_a_teacher_that_is_finetuned_learns_its_pixels_and_is_not_judged(asked):
    assert "validation images right" not in notes_of(asked(finetune={"epochs": 2}))

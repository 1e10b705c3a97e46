"""Networks of transformers, as the library makes and saves them.

Nothing is fetched.
"""

import json

import numpy as np
import pytest
import torch

from kdsearch.distill.data.dataset import load_dataset
from kdsearch.distill.models import build_model
from kdsearch.distill.models.heads import head_parameters
from kdsearch.distill.preflight.checks import check_training
from kdsearch.distill.teachers.made import ensure_teacher, load_teacher
from kdsearch.distill.teachers.recipes import recipe_of
from kdsearch.distill.training.train_pack import train_pack
from kdsearch.distill.weights.published import load_published, published_preparation
from kdsearch.errors import RequestError
from kdsearch.spec import TrainingSpec

transformers = pytest.importorskip("transformers")
N_CLASSES, LENGTH, WORDS = 3, 7, 30  # small, and unlike each other, so that no axis passes for another
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
DISTIL = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 16}


def texts():
    rng = np.random.default_rng(0)
    labels = np.arange(90) % N_CLASSES
    ids = rng.integers(5, WORDS, (90, LENGTH))
    ids[:, 1] = 1 + labels
    mask = (np.arange(LENGTH) < rng.integers(3, LENGTH + 1, (90, 1))).astype(int)
    return ({"input_ids": ids * mask, "attention_mask": mask}, labels), None


def pictures():
    """Colour images of 20 pixels, 30 of each class."""
    rng = np.random.default_rng(0)
    labels = np.arange(90) % N_CLASSES
    images = rng.integers(0, 150, (90, 20, 20, 3), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[..., label] += 100
    return (images, labels), None


def config(kind, num_labels=N_CLASSES, **values):
    made = getattr(transformers, f"{kind}Config")(**values)
    made.num_labels = num_labels
    return made


def saved(folder, network, **values):
    """Save a network of transformers, and return it.

    Its class is named, and made from a configuration.
    """
    kind = "".join(network.partition("For")[0]).removesuffix("Model")
    torch.manual_seed(1)
    model = getattr(transformers, network)(config(kind, **values)).eval()
    model.save_pretrained(folder)
    return model


BERT = {"vocab_size": WORDS, "max_position_embeddings": 12, **SMALL}


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    return folder, saved(folder, "BertForSequenceClassification", **BERT)


VIT = {"image_size": 16, "patch_size": 8, **SMALL}


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vit")
    model = saved(folder, "ViTForImageClassification", **VIT)
    processor = transformers.ViTImageProcessor(
        size={"height": 16, "width": 16}, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.25, 0.3], resample=2
    )
    processor.save_pretrained(folder)
    return folder, model


def spec(kind, arch, *, weights="DEFAULT", epochs=0, **sections):
    base = {
        "dataset": {"name": f"{__name__}:{'texts' if kind == 'text' else 'pictures'}", "kind": kind},
        "student": {"arch": arch},
        "teacher": {"arch": arch, "pretraining": {"weights": weights}, "finetune": {"epochs": epochs}},
        "objective": {"name": "kd", "temperature": 3.0},
        "optimizer": {"name": "adamw", "lr": 0.01},
        "training": {"epochs": 1, "batch_size": 16},
    }
    return TrainingSpec.model_validate({k: base.get(k, {}) | sections.get(k, {}) for k in {*base, *sections}})


def test_a_text_teacher_gives_what_transformers_itself_gives(bert, tmp_path):
    folder, expected = bert
    asked = spec("text", f"hf:{folder}")
    assert check_training(asked) == []
    teacher = load_teacher(ensure_teacher(recipe_of(asked), tmp_path))
    tokens = load_dataset(asked.dataset).test.images.long()
    with torch.no_grad():
        theirs = expected(input_ids=tokens[:, 0], attention_mask=tokens[:, 1]).logits
    torch.testing.assert_close(teacher(tokens), theirs)


def test_an_image_teacher_sees_images_as_its_processor_makes_them(vit, tmp_path):
    """The processor resizes bytes: its pixels differ from ours by their rounding, 1/255 of a deviation of 0.2."""
    folder, _ = vit
    asked = spec("image", f"hf:{folder}", student={"arch": "convnet_8"})
    data = load_dataset(asked.dataset)
    record = ensure_teacher(recipe_of(asked), tmp_path)
    teacher, seen = load_teacher(record), []
    teacher.vit.embeddings.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    mean, std = (torch.tensor(values)[:, None, None] for values in (data.mean, data.std))
    pixels = data.test.images
    teacher((pixels.float() / 255 - mean) / std)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    ready = processor(list(pixels.permute(0, 2, 3, 1).numpy()), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(seen[0], ready, atol=0.02, rtol=0)
    assert record.preparation["mean"] == [0.4, 0.5, 0.6]


PROCESSORS = {
    "resized and cut": (
        {"size": {"shortest_edge": 32}, "crop_size": {"height": 28, "width": 28}, "do_center_crop": True},
        (28, 28 / 32, 0.5),
    ),
    "scaled to -1 and 1": (
        {"rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3, "image_std": [1.0] * 3},
        (24, 1.0, 0.5),
    ),
    "not scaled": ({"do_rescale": False, "image_mean": [127.5] * 3, "image_std": [51.0] * 3}, (24, 1.0, 0.5)),
}


@pytest.mark.parametrize("case", PROCESSORS)
def test_a_processor_is_read_as_it_prepares(vit, tmp_path, case):
    values, (size, crop, mean) = PROCESSORS[case]
    defaults = {
        "size": {"height": 24, "width": 24},
        "image_mean": [0.5] * 3,
        "image_std": [0.2] * 3,
        "resample": 3,
    }
    transformers.CLIPImageProcessor(**{**defaults, "do_center_crop": False, **values}).save_pretrained(
        tmp_path
    )
    vit[1].save_pretrained(tmp_path)
    found = published_preparation(f"hf:{tmp_path}", "DEFAULT")
    assert (found.size, found.crop, found.interpolation) == (size, crop, "bicubic")
    assert found.mean == pytest.approx((mean,) * 3)
    assert found.std == pytest.approx(((0.5 if case == "scaled to -1 and 1" else 0.2),) * 3)


@pytest.mark.parametrize(
    ("network", "values"),
    [
        ("BertForSequenceClassification", BERT),
        (
            "DistilBertForSequenceClassification",
            {"vocab_size": WORDS, "max_position_embeddings": 12, **DISTIL},
        ),
        ("RobertaForSequenceClassification", BERT),
    ],
)
def test_students_of_several_kinds_distil_texts(bert, tmp_path, network, values):
    """A pack of two, from a configuration alone: another seed gives another student."""
    saved(tmp_path / "student", network, **values)
    asked = spec("text", f"hf:{bert[0]}", student={"arch": f"hf:{tmp_path / 'student'}"})
    members = [{"seed": seed, "number": seed} for seed in (0, 1)]
    results = train_pack(asked, members, artifacts=tmp_path, device="cpu")
    alone = train_pack(asked, [{"seed": 1}], artifacts=tmp_path, device="cpu")
    assert [own.state for own in results] == ["complete"] * 2
    assert results[0].metrics["val_loss"] != results[1].metrics["val_loss"]
    assert alone[0].metrics["val_loss"] == pytest.approx(results[1].metrics["val_loss"], rel=1e-5)


def test_an_image_student_starts_from_published_weights_and_trains(vit, tmp_path):
    arch = f"hf:{vit[0]}"
    asked = spec("image", arch, dataset={"image_size": 16}, student={"init": {"weights": "DEFAULT"}})
    (result,) = train_pack(asked, [{"seed": 0}], artifacts=tmp_path, device="cpu")
    assert result.state == "complete"


def test_the_head_is_found_behind_embeddings():
    """With the pooler before it left to the body."""
    model = build_model(f"{__name__}:own_bert", N_CLASSES, 2, image_size=LENGTH, vocabulary=WORDS)
    assert head_parameters(model) == ("classifier.weight", "classifier.bias")


def own_bert(num_classes, vocab_size):
    return transformers.BertForSequenceClassification(
        config("Bert", num_classes, **{**BERT, "vocab_size": vocab_size})
    )


def test_other_classes_draw_a_new_head_and_need_training(tmp_path):
    saved(tmp_path / "five", "BertForSequenceClassification", num_labels=5, **BERT)
    arch = f"hf:{tmp_path / 'five'}"
    with pytest.raises(RequestError, match=r"head of 'hf:.*' is of 5 classes, not of 3"):
        check_training(spec("text", arch))
    asked = spec("text", arch, epochs=1)
    assert any("is of 5 classes" in note for note in check_training(asked))
    assert ensure_teacher(recipe_of(asked), tmp_path).num_classes == N_CLASSES


@pytest.mark.parametrize(
    ("network", "values", "drawn"),
    [
        ("BertModel", BERT, {"classifier"}),
        (
            "DistilBertModel",
            {"vocab_size": WORDS, "max_position_embeddings": 12, **DISTIL},
            {"classifier", "pre_classifier"},
        ),
    ],
)
def test_a_checkpoint_without_a_head_is_said_to_have_none(tmp_path, network, values, drawn):
    saved(tmp_path / "body", network, **values)
    arch = f"hf:{tmp_path / 'body'}"
    with pytest.raises(RequestError, match=f"is a {network}, without a head for classes"):
        check_training(spec("text", arch))
    data = load_dataset(spec("text", arch).dataset)
    model = build_model(arch, N_CLASSES, 2, image_size=LENGTH, vocabulary=WORDS)
    start = load_published(model, arch, "DEFAULT", data, is_prepared=True)
    assert {name.partition(".")[0] for name in start.untrained} == drawn


def test_classes_in_another_order_are_refused(bert, tmp_path):
    folder = tmp_path / "order"
    bert[1].save_pretrained(folder)
    document = json.loads((folder / "config.json").read_text())
    document["id2label"] = {"0": "2", "1": "1", "2": "0"}
    document["label2id"] = {"2": 0, "1": 1, "0": 2}
    (folder / "config.json").write_text(json.dumps(document))
    with pytest.raises(RequestError, match="must number the classes as the data do"):
        check_training(spec("text", f"hf:{folder}"))


def test_what_can_not_be_had_is_one_line(bert, vit, tmp_path):
    cases = {
        f"hf:{tmp_path / 'nowhere'}": ("text", "of a folder that is there"),
        f"hf:{vit[0]}": ("text", "must be a network that classifies texts"),
        f"hf:{bert[0]}": ("image", "must be a network that classifies images"),
    }
    for arch, (kind, says) in cases.items():
        with pytest.raises(RequestError, match=says) as caught:
            check_training(spec(kind, arch, teacher={"arch": arch, "pretraining": "none"}))
        assert "\n" not in str(caught.value)


def test_an_image_model_that_does_not_say_how_it_was_fed_asks_for_it(vit, tmp_path):
    vit[1].save_pretrained(tmp_path / "bare")
    asked = spec("image", f"hf:{tmp_path / 'bare'}", student={"arch": "convnet_8"})
    with pytest.raises(RequestError, match="does not say how its images were prepared"):
        check_training(asked)
    said = asked.with_values({"teacher.preprocessing": "data", "dataset.image_size": 16})
    assert check_training(said) == []


def test_a_folder_that_changes_is_another_teacher(bert, tmp_path):
    folder = tmp_path / "changing"
    bert[1].save_pretrained(folder)
    asked = spec("text", f"hf:{folder}")
    before = recipe_of(asked).digest
    torch.manual_seed(2)
    transformers.BertForSequenceClassification(config("Bert", **BERT)).save_pretrained(folder)
    assert recipe_of(asked).digest != before


def test_a_model_of_the_hub_is_taken_as_it_was_fetched(bert, tmp_path, monkeypatch):
    """The Hub's cache is read as its client lays it down.

    Another name, or revision, is not there.
    """
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository, commit = tmp_path / "models--me--bert", "0" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    bert[1].save_pretrained(repository / "snapshots" / commit)
    record = ensure_teacher(recipe_of(spec("text", "hf:me/bert")), tmp_path / "artifacts")
    weights = load_teacher(record).state_dict()
    assert all(torch.equal(weights[name], value) for name, value in bert[1].state_dict().items())
    for arch, weights, says in (
        ("hf:me/brt", "DEFAULT", r"`teacher.arch` must be a model of the Hugging Face Hub"),
        ("hf:me/bert", "v2", r"`teacher.pretraining.weights` must be a model .* at 'v2'"),
    ):
        with pytest.raises(RequestError, match=says) as caught:
            check_training(spec("text", arch, weights=weights, student={"arch": "hf:me/bert"}))
        assert "\n" not in str(caught.value)

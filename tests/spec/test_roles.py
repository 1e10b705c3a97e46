import pytest

from kdsearch.spec.roles import role_of


@pytest.mark.parametrize(
    ("name", "levels", "role"),
    [
        ("lr_sgd", ["sgd"], "lr"),
        ("sgd.lr", ["SGD"], "lr"),
        ("opt_sgd_lr", ["sgd"], "opt_lr"),
        ("lr_sgd_resnet-18", ["sgd", "resnet-18"], "lr"),
        ("lrsgd", ["sgd"], "lrsgd"),
        ("sgd2_lr", ["sgd"], "sgd2_lr"),
        ("sgd", ["sgd"], "sgd"),
    ],
)
def test_a_role_is_the_name_without_its_levels(name: str, levels: list[str], role: str) -> None:
    assert role_of(name, levels) == role

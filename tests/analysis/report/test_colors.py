import numpy as np
import pytest

from kdsearch.analysis.report.colors import faded, sequence_colors, setup_colors


def luminance(color: str) -> float:
    channels = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_setups_share_a_colour_exactly_where_they_share_the_first_factors_level():
    setups = [{"optimizer.name": o, "training.epochs": e} for o in ("sgd", "adamw") for e in (10, 20)]
    colors = setup_colors(setups)
    assert colors[0] == colors[1] != colors[2] == colors[3]


def test_ordered_levels_go_from_dark_to_light():
    colors = setup_colors([{"training.epochs": epochs} for epochs in (200, 50, 100)])
    assert luminance(colors[1]) < luminance(colors[2]) < luminance(colors[0])


@pytest.mark.parametrize("count", [1, 2, 6, 30])
def test_a_sequence_has_distinct_colours_of_rising_luminance_that_a_white_page_shows(count):
    shades = [luminance(color) for color in sequence_colors(count)]
    assert shades == sorted(set(shades))
    assert len(shades) == count
    assert max(shades) < 0.6


def test_many_names_get_many_colours():
    setups = [{"student.arch": f"mlp_{n}"} for n in range(1, 13)]
    assert len(set(setup_colors(setups))) == 12


def test_a_faded_colour_keeps_its_hue():
    assert faded("#0072b2", 0.5) == "rgba(0,114,178,0.5)"

"""The reward curve."""

import struct

import matplotlib.image
import numpy as np
import pytest

from dqn_tf.reporting import reward_curve

EPISODES = [{"env_steps": 10 * i, "train/episode_return": float(i), "train/episode_length": 1.0} for i in range(150)]
EVALUATIONS = [{"env_steps": 500 * i, "eval/return_mean": 40.0 * i, "eval/return_max": 50.0 * i} for i in (1, 2, 3)]
OTHERS = [{"env_steps": 100, "train/loss": 1.0, "time/env_steps_per_second": 5.0}]


def size(path):
    """Returns width and height from the header of a PNG file."""
    header = path.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", header[16:24])


def count(path, red, green, blue):
    """Returns how many pixels have nearly this colour: thin lines are blended with the white beside them."""
    picture = 255 * matplotlib.image.imread(path)[..., :3]
    return int((np.abs(picture - (red, green, blue)) < 40).all(axis=-1).sum())


BLUE, ORANGE, GREEN = (31, 119, 180), (255, 127, 14), (44, 160, 44)  # matplotlib's tab:blue, tab:orange, tab:green


@pytest.mark.parametrize(
    "rows, threshold",
    [([], None), (OTHERS, 475.0), (EPISODES[:1], None), (EPISODES + EVALUATIONS + OTHERS, 475.0)],
    ids=["none", "neither", "one episode", "all"],
)
def test_draw_of_any_rows_writes_a_png_of_1080_by_600(tmp_path, rows, threshold):
    reward_curve.save(reward_curve.draw(rows, "CartPole-v1, seed 0", threshold), tmp_path / "curve.png")
    assert size(tmp_path / "curve.png") == (1080, 600)


def test_draw_shows_the_mean_evaluations_and_threshold_where_there_are_any(tmp_path):
    reward_curve.save(reward_curve.draw([], "title"), tmp_path / "none.png")
    reward_curve.save(reward_curve.draw(EPISODES, "title"), tmp_path / "episodes.png")
    reward_curve.save(reward_curve.draw(EVALUATIONS, "title"), tmp_path / "evaluations.png")
    reward_curve.save(reward_curve.draw([], "title", 475.0), tmp_path / "threshold.png")
    colours = {path.stem: [count(path, *colour) > 0 for colour in (BLUE, ORANGE, GREEN)] for path in tmp_path.iterdir()}
    assert colours == {
        "none": [False, False, False],
        "episodes": [True, False, False],
        "evaluations": [False, True, False],
        "threshold": [False, False, True],
    }


def test_draw_of_returns_that_are_not_finite_writes_a_picture(tmp_path):
    rows = [{"env_steps": i, "train/episode_return": value} for i, value in enumerate([1.0, np.nan, np.inf, -np.inf])]
    reward_curve.save(reward_curve.draw(rows, "title"), tmp_path / "curve.png")
    assert size(tmp_path / "curve.png") == (1080, 600)


def test_running_mean_of_fewer_than_100_is_one_point_at_the_last():
    steps, means = reward_curve.running_mean(np.array([10.0, 20.0, 40.0]), np.array([1.0, 2.0, 6.0]))
    assert (list(steps), list(means)) == ([40.0], [(1 + 2 + 6) / 3])


def test_running_mean_of_exactly_100_is_one_point():
    steps, means = reward_curve.running_mean(np.arange(100.0), np.ones(100))
    assert (list(steps), list(means)) == ([99.0], [1.0])


def test_running_mean_of_102_is_of_each_100_at_the_step_of_the_last():
    steps, means = reward_curve.running_mean(10 * np.arange(1.0, 103), np.arange(1.0, 103))
    # The mean of 1 to 100 is 50.5.
    assert (list(steps), list(means)) == ([1000.0, 1010.0, 1020.0], [50.5, 51.5, 52.5])

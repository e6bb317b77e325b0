"""What a film shows, of a game played by a script; the file itself is gymnasium's and moviepy's."""

import dataclasses
import sys
import types

import gymnasium
import numpy as np
import pytest

from dqn_tf.environment import spec
from dqn_tf.evaluation import video
from tests import making


class Game:
    """Stands for a Factory, and is the Environment it makes. Picture t is of that value; step t pays t.

    A life is lost at step 2, and the game ends at step 4.
    """

    env_id, frames_per_second, legal = "Game", 12, None

    def __init__(self):
        self.asked, self.actions, self.is_closed = None, [], False

    def make(self, num_envs, render=False):
        self.asked = (num_envs, render)
        return self

    def reset(self, seeds):
        self.seeds, self._step = [one(0) for one in seeds], 0
        return np.zeros((1, 1), np.float32)

    def step(self, action):
        self._step += 1
        self.actions.append(action.tolist())
        ended, observation = np.array([self._step == 4]), np.full((1, 1), self._step, np.float32)
        lost = np.array([self._step in (2, 4)])
        return spec.Step(observation, np.float32([self._step]), lost, ~lost & False, ended, observation, action)

    def render(self):
        return [np.full((2, 3, 3), self._step, np.uint8)]

    def close(self):
        self.is_closed = True


class Odd:
    """Takes action 1 in odd observations and 0 in even ones."""

    def values(self, observation):
        return np.eye(2, dtype=np.float32)[observation[:, 0].astype(int) % 2]


@pytest.fixture
def saved(monkeypatch):
    """Returns the list of what was to be written: pictures, directory and the rest."""
    calls = []
    module = types.ModuleType("gymnasium.utils.save_video")
    module.save_video = lambda frames, directory, **others: calls.append((frames, directory, others))
    monkeypatch.setitem(sys.modules, "gymnasium.utils.save_video", module)
    monkeypatch.setattr(gymnasium.utils, "save_video", module, raising=False)
    return calls


def test_record_shows_every_picture_of_a_game_over_its_lost_lives(saved, tmp_path):
    game = Game()
    assert video.record(game, Odd(), 7, 100, tmp_path / "film") == 1 + 2 + 3 + 4
    ((frames, directory, others),) = saved
    assert [int(frame[0, 0, 0]) for frame in frames] == [0, 1, 2, 3]
    assert (directory, others["fps"]) == (str(tmp_path / "film"), 12)
    assert game.actions == [[0], [1], [0], [1]]
    assert (game.asked, game.seeds, game.is_closed) == ((1, True), [7], True)


def test_record_of_a_long_game_is_cut(saved, tmp_path):
    assert video.record(Game(), Odd(), 7, 2, tmp_path / "film") == 1 + 2
    assert len(saved[0][0]) == 1 + 2


def test_record_of_an_atari_game_shows_its_screen_at_its_speed(saved, tmp_path):
    pytest.importorskip("ale_py")
    pong = making.environments("ALE/Pong-v5")
    policy = types.SimpleNamespace(values=lambda observation: np.eye(6, dtype=np.float32)[:1])
    video.record(pong, policy, 0, 5, tmp_path / "film")
    ((frames, _, others),) = saved
    assert [frame.shape for frame in frames] == [(210, 160, 3)] * 6
    assert others["fps"] == 15  # of 60 frames a second every fourth


def test_record_explores_as_the_seed_says(saved, tmp_path):
    games = [Game() for _ in range(3)]
    never = types.SimpleNamespace(values=lambda observation: np.float32([[1, 0, 0, 0, 0, 0, 0, 0, 0]]))
    for game, epsilon in zip(games, (1.0, 1.0, 0.0), strict=True):
        video.record(game, never, 7, 100, tmp_path / "film", epsilon)
    assert games[0].actions == games[1].actions != games[2].actions == [[0]] * 4


def test_record_under_masks_takes_legal_actions_only(saved, tmp_path):
    mines = making.environments("tests.environments:Mines-v0")
    mines = dataclasses.replace(mines, spec=mines.describe())
    policy = types.SimpleNamespace(values=lambda observation: np.float32([[9, 8, 7, 3, 2, 1]]))
    for seed in range(9):
        assert video.record(mines, policy, seed, 100, tmp_path / "film") == 5.0  # a step on a mine raises

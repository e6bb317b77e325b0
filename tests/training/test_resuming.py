"""Episodes that are played again leave nothing behind but what the next transitions need."""

import types

import numpy as np

from dqn_tf.experience import accumulator, frame_replay
from dqn_tf.training import resuming
from tests.experience.test_frame_replay import STACK, StackedGame, noted, play, rows


class Replayed:
    """An actor whose episodes are steps of games that were played before."""

    def __init__(self, replay, steps):
        self._replay, self._steps = replay, steps
        self.noted = np.empty(0, np.int64)

    def replay(self, episodes):
        for start in range(0, len(self._steps.action), 10):
            yield noted(self._replay, rows(self._steps, start, start + 10))

    def unfinished(self):
        return types.SimpleNamespace(checksum=np.zeros(1))


def test_play_again_keeps_no_plane_that_nobody_waits_for():
    games = [StackedGame("stack first", "zeros", n, blank=0) for n in range(4)]
    replay = frame_replay.FrameReplay(1000, STACK, np.uint8, np.random.default_rng(0))
    parts = types.SimpleNamespace(
        actor=Replayed(replay, play(games, 200, np.full((200, 4), ""))),
        accumulator=accumulator.Accumulator(3, 0.9),
        replay=replay,
        placement=types.SimpleNamespace(max=lambda value: value),
    )
    episodes = types.SimpleNamespace(length=np.array([200] * 4), action=np.zeros(800), checksum=np.zeros(1))
    heartbeat = types.SimpleNamespace(heard=lambda what: None, heard_by_all=lambda what: None)
    resuming.play_again(episodes, parts, "Stacked-v0", heartbeat)
    assert len(replay._planes._kept) <= 4 * (4 + 3)  # a stack of each game, and what waits for its third reward
    assert len(replay) == 0

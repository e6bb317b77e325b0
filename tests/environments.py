"""Small environments whose every return is known, for --env=tests.environments:EnvId."""

import json
import os
import pathlib
import signal
import time

import gymnasium
import numpy as np
from gymnasium import spaces


class Chain(gymnasium.Env):
    """A combination lock: the right action of each of six states leads on, a wrong one back to the first.

    The last right action pays 1 and ends the episode, so a greedy policy gets 1 (all six right) or 0, and a random one
    opens the lock in (1/2)^6 of its tries. Observations count from 2 and actions from 1, as spaces with a start do.
    """

    metadata = {"render_modes": []}
    RIGHT_ACTIONS = (1, 2, 2, 1, 2, 1)

    def __init__(self):
        self.observation_space = spaces.Discrete(len(self.RIGHT_ACTIONS), start=2)
        self.action_space = spaces.Discrete(2, start=1)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._state = 0
        return np.int64(2), {}

    def step(self, action):
        self._state = self._state + 1 if action == self.RIGHT_ACTIONS[self._state] else 0
        is_open = self._state == len(self.RIGHT_ACTIONS)
        return np.int64(2 + min(self._state, 5)), float(is_open), is_open, False, {}


class Tape(gymnasium.Env):
    """Episodes of 3 to 7 steps, as the seed says; step t of action a pays 10 a + t / 4. `played` holds all that began.

    Attributes:
      played: [seed, return so far, steps, whether it ended] of every episode, in order of their first reset.
    """

    metadata = {"render_modes": []}
    played: list = []

    def __init__(self):
        self.observation_space = spaces.Box(-1.0, 1.0, (3,), np.float32)
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._episode = [seed, 0.0, 0, False]
        self._length = int(self.np_random.integers(3, 8))
        self.played.append(self._episode)
        return self._observe(), {}

    def step(self, action):
        self._episode[2] += 1
        reward = 10.0 * float(action) + self._episode[2] / 4
        self._episode[1] += reward
        self._episode[3] = self._episode[2] == self._length
        return self._observe(), reward, self._episode[3], False, {}

    def _observe(self):
        return self.np_random.uniform(-1, 1, 3).astype(np.float32)


class Blind(gymnasium.Env):
    """CartPole's observations, zeros; takes a render_mode and renders nothing."""

    metadata = {"render_modes": ["rgb_array"]}

    def __init__(self, render_mode=None):
        self.observation_space = spaces.Box(-1.0, 1.0, (4,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(4, np.float32), {}

    def step(self, action):
        return np.zeros(4, np.float32), 1.0, True, False, {}

    def render(self):
        return None


class Mute(Blind):
    """Knows no render_mode."""

    def __init__(self):
        super().__init__()


class Endless(gymnasium.Env):
    """Pays 1 a step, for ever."""

    metadata = {"render_modes": []}

    def __init__(self):
        self.observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), 1.0, False, False, {}


class Ailing(Endless):
    """Endless, until its 60th step: there it does what `ill` says, on the worker of that index of TF_CONFIG's."""

    def __init__(self, ill, index):
        super().__init__()
        me = json.loads(os.environ.get("TF_CONFIG", "{}")).get("task", {}).get("index", 0)
        self._ill = ill if me == index else ""
        self._steps = 0

    def step(self, action):
        self._steps += 1
        if self._steps == 60:
            if self._ill == "stuck":
                time.sleep(3600)
            if self._ill == "slow":
                time.sleep(120)
            if self._ill == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if self._ill == "left":
                os._exit(0)
            if self._ill == "raises":
                raise RuntimeError("the environment is broken")
        return super().step(action)


class Moody(Endless):
    """Does not repeat itself: one of its observations is that of no seed, and the next ones are those of any."""

    _steps = 0

    def step(self, action):
        self._steps += 1
        observation, *rest = super().step(action)
        return observation + (np.random.default_rng().random() if self._steps == 2 else 0), *rest


class Frail(Tape):
    """Tape, but one of its steps raises, once: no file of the environment variable FRAIL is there then."""

    steps = 0

    def step(self, action):
        type(self).steps += 1
        path = pathlib.Path(os.environ["FRAIL"])
        # Not the chief of several workers.
        worker = json.loads(os.environ.get("TF_CONFIG", "{}")).get("task", {}).get("index", 1)
        if worker == 1 and self.steps == int(os.environ["FRAIL_STEP"]) and not path.exists():
            path.touch()
            raise RuntimeError("the simulator has crashed")
        return super().step(action)


class Pixel(gymnasium.Env):
    """A bright square moves over a 36 x 36 picture, left or right; its column, in [0, 1], is the reward."""

    metadata = {"render_modes": []}

    def __init__(self):
        self.observation_space = spaces.Box(0, 255, (36, 36, 1), np.uint8)
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._column = int(self.np_random.integers(9))
        return self._draw(), {}

    def step(self, action):
        self._column = int(np.clip(self._column + (1 if action else -1), 0, 8))
        return self._draw(), self._column / 8, False, False, {}

    def _draw(self):
        picture = np.zeros((36, 36, 1), np.uint8)
        picture[16:20, 4 * self._column : 4 * self._column + 4] = 255
        return picture


class Broken(gymnasium.Env):
    """Pays `reward` in the last of an episode's 8 steps and 0 before."""

    metadata = {"render_modes": []}

    def __init__(self, reward):
        self.observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.action_space = spaces.Discrete(2)
        self._reward = reward

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._step = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self._step += 1
        is_last = self._step == 8
        return np.zeros(2, np.float32), self._reward if is_last else 0.0, is_last, False, {}


class Mixed(gymnasium.Env):
    """Observations of several parts; pays 1 where the action is the part "hint"."""

    metadata = {"render_modes": []}

    def __init__(self):
        place = spaces.Tuple((spaces.Discrete(3, start=1), spaces.Box(0.0, 1.0, (2,), np.float32)))
        self.observation_space = spaces.Dict(
            {"hint": spaces.Discrete(2), "noise": spaces.MultiBinary(3), "place": place}
        )
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self._observe(), {}

    def step(self, action):
        reward = float(action == self._hint)
        return self._observe(), reward, False, False, {}

    def _observe(self):
        observation = self.observation_space.sample()
        self._hint = observation["hint"]
        return observation


class Mines(gymnasium.Env):
    """Six fields, some of them mined: its masks say which. A step on a mine raises.

    An episode is cut after 3 to 7 steps, as the seed says, and its last step pays 5; there may be no way out of there.
    """

    metadata = {"render_modes": ["rgb_array"]}

    def __init__(self, render_mode=None):
        self.render_mode = render_mode
        self.observation_space = spaces.Box(-1.0, 1.0, (3,), np.float32)
        self.action_space = spaces.MultiDiscrete([2, 3], start=[0, 5])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._left = int(self.np_random.integers(3, 8))
        return self._show()

    def step(self, action):
        assert action in self.action_space
        if not self._mask[np.ravel_multi_index(action - self.action_space.start, (2, 3))]:
            raise RuntimeError("the mine has gone off")
        action[:] = 9  # it is the environment's own
        self._left -= 1
        observation, info = self._show()
        return observation, 5.0 * (self._left == 0), False, self._left == 0, info

    def render(self):
        return np.zeros((2, 2, 3), np.uint8)

    def _show(self):
        self._mask = (self.np_random.random(6) < 0.4).astype(np.int8)
        if self._left:
            self._mask[self.np_random.integers(6)] = 1
        return self.np_random.uniform(-1, 1, 3).astype(np.float32), {"action_mask": self._mask}


gymnasium.register("Chain-v0", entry_point=Chain, max_episode_steps=30, reward_threshold=1.0)
gymnasium.register("Tape-v0", entry_point=Tape)
gymnasium.register("Frail-v0", entry_point=Frail)
gymnasium.register("Blind-v0", entry_point=Blind)
gymnasium.register("Mute-v0", entry_point=Mute)
gymnasium.register("Endless-v0", entry_point=Endless)
gymnasium.register("Moody-v0", entry_point=Moody)
for ill in ("stuck", "slow", "killed", "left", "raises"):
    gymnasium.register(f"{ill.title()}-v0", entry_point=Ailing, kwargs={"ill": ill, "index": 1})
    gymnasium.register(f"{ill.title()}Chief-v0", entry_point=Ailing, kwargs={"ill": ill, "index": 0})
gymnasium.register("Mines-v0", entry_point=Mines)
gymnasium.register("Pixel-v0", entry_point=Pixel, max_episode_steps=12)
gymnasium.register("Mixed-v0", entry_point=Mixed, max_episode_steps=10)
gymnasium.register("Fixed-v0", entry_point=Endless, max_episode_steps=150)
gymnasium.register("NaN-v0", entry_point=Broken, kwargs={"reward": float("nan")})
gymnasium.register("Infinite-v0", entry_point=Broken, kwargs={"reward": float("inf")})

"""Atari games through ALE's own vector environment: C++ threads, 84 x 84 grey frames, four of them stacked.

Two protocols. `machado` (Machado et al. 2018, arXiv:1709.06009): an action is repeated against the agent's will with
probability 0.25, a lost life has no effect, the game starts at once. `nature` (Mnih et al. 2015,
doi:10.1038/nature14236): no sticky actions; a game starts with up to 30 no-op frames; FIRE is pressed when a game may
wait for it, in the first of those frames and after a lost life; a lost life terminates for learning only, while the
game and its score continue.

An env step is four frames. Rewards are raw game scores in both; --reward_clip is applied later.
"""

import contextlib
import difflib
import importlib.util
import re
from collections.abc import Iterator, Sequence

import gymnasium
import numpy as np

from dqn_tf.config import schema
from dqn_tf.environment import action_numbers
from dqn_tf.environment.spec import EnvironmentFailure, EnvironmentSpec, EpisodeSeeds, Step, aligned

FRAMES_PER_STEP = 4
STACK = 4
SIZE = 84
_MAX_FRAMES = 108_000  # half an hour of play
_NOOPS = 30
_FRAMES_PER_SECOND = 60
_SCREEN = (210, 160)
_OTHER_NAME = re.compile(r"(ALE/)?(?P<game>\w+?)(-ram|NoFrameskip|Deterministic)*(-v\d)?", re.IGNORECASE)
_INSTALL = "pip install -e '.[atari]'"


def resolve(settings: schema.Atari) -> schema.Atari:
    """Returns the settings with `auto` replaced by its meaning."""
    return schema.Atari(
        "machado" if settings.atari_protocol == "auto" else settings.atari_protocol,
        "minimal" if settings.atari_actions == "auto" else settings.atari_actions,
    )


def check_name(env_id: str) -> None:
    """Raises ConfigError if ALE has no game `env_id`; does nothing if ALE is not installed."""
    if importlib.util.find_spec("ale_py"):
        _game(env_id)


def describe(env_id: str, settings: schema.Atari) -> EnvironmentSpec:
    """Returns the spec of a game.

    Raises:
      config.ConfigError: ALE is not installed, or has no such game.
    """
    game = _game(env_id)
    environment = _make(game, 1, settings, 1)
    space, action_space = environment.single_observation_space, environment.single_action_space
    environment.close()
    return EnvironmentSpec(
        env_id=env_id,
        observation_space=space,
        observation_shape=space.shape,
        observation_dtype=np.dtype(np.uint8),
        action_space=action_numbers.plain(action_space),
        reward_threshold=None,
        max_episode_steps=_MAX_FRAMES // FRAMES_PER_STEP,
        frames_per_step=FRAMES_PER_STEP,
    )


def advice(env_id: str) -> str | None:
    """Returns advice for a name that resembles a game's, such as PongNoFrameskip-v4; None for other names."""
    match = _OTHER_NAME.fullmatch(env_id)
    entry = gymnasium.registry.get(env_id)
    if match is None or entry is not None and not str(entry.entry_point).startswith("ale_py"):
        return None
    try:
        import ale_py
    except ImportError:
        if "noframeskip" in env_id.lower():
            return f"--env={env_id} is an old name of a game; games are named ALE/<Game>-v5 here, and need {_INSTALL}"
        return None
    games = {rom.replace("_", ""): ale_py.registration.rom_id_to_name(rom) for rom in ale_py.roms.get_all_rom_ids()}
    game = games.get(match["game"].lower().replace("_", ""))
    if game is None or f"ALE/{game}-v5" not in gymnasium.registry:
        return None
    return (
        f"--env={env_id} is not the name of a game here; use --env=ALE/{game}-v5, "
        "with --atari_protocol=nature for play without sticky actions."
    )


class AtariEnvironment:
    """N games of one kind, stepped together. See spec.Environment.

    Attributes:
      spec: what `describe` returns.
      num_envs: N.
    """

    legal = None

    def __init__(self, env_id: str, num_envs: int, settings: schema.Atari, num_threads: int = 0, render: bool = False):
        """Makes the games; `reset` them before the first step.

        Args:
          num_threads: C++ threads that step them; 0: one per core.
          render: whether `render` will be called.
        Raises:
          config.ConfigError: as `describe`.
        """
        self.spec = describe(env_id, settings)
        self.num_envs = num_envs
        self._ends_with_life = settings.atari_protocol == "nature"
        self._envs = _make(_game(env_id), num_envs, settings, num_threads)
        # A second set of games, in colour, gets the same seeds and actions.
        self._screens = _make(_game(env_id), num_envs, settings, num_threads, is_picture=True) if render else None
        self._picture = None
        names = [action.name for action in self._envs.ale.get_action_set()]
        self._fire = names.index("FIRE") if self._ends_with_life and "FIRE" in names else None
        self._seeds: Sequence[EpisodeSeeds] = ()
        self._episode = np.zeros(num_envs, np.int64)
        self._lives = self._waits = None  # [N]; whether a game may wait for FIRE

    def reset(self, seeds: Sequence[EpisodeSeeds], episodes: Sequence[int] | None = None) -> np.ndarray:
        self._seeds = seeds
        self._episode = np.array([0] * self.num_envs if episodes is None else episodes, np.int64)
        self._waits = np.zeros(self.num_envs, bool)
        return self._begin(None)

    def _begin(self, mask):
        """Starts a new game where mask <bool>[N] is true, or everywhere; returns all observations.

        The seed of a game decides its sticky actions too.
        """
        numbers = range(self.num_envs) if mask is None else np.flatnonzero(mask)
        seeds = np.array([self._seeds[i](int(self._episode[i])) for i in numbers], np.int32)
        options = None if mask is None else {"reset_mask": mask}
        with self._told("reset"):
            observation, infos = self._envs.reset(seed=seeds, options=options)
            if self._screens:
                self._picture, _ = self._screens.reset(seed=seeds, options=options)
        self._lives = infos["lives"]
        return observation

    def step(self, action: np.ndarray) -> Step:
        if self._fire is not None and self._waits.any():
            action = np.where(self._waits, np.int32(self._fire), action)
        with self._told("step"):
            observation, reward, terminated, truncated, infos = self._envs.step(action)
            if self._screens:
                self._picture, *_ = self._screens.step(action)
        ended = terminated | truncated
        self._waits = (infos["lives"] < self._lives) & ~ended  # a life was lost, the game goes on
        self._lives = infos["lives"]
        next_observation = observation
        if ended.any():
            next_observation = observation.copy()
            next_observation[ended] = infos["final_obs"][ended]
            self._episode += ended
            observation = self._begin(ended)  # again: ALE has started the game without its own seed
        if self._ends_with_life:
            terminated = terminated | self._waits
        return Step(next_observation, reward.astype(np.float32), terminated, truncated, ended, observation, action)

    @contextlib.contextmanager
    def _told(self, what):
        """Raises EnvironmentFailure for any error of ALE in the context; ALE does not tell in which game."""
        try:
            yield
        except Exception as error:
            raise EnvironmentFailure.of(f"--env={self.spec.env_id}: {what} raised", error) from error

    def replay(self, actions: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, Step]]:
        length, episode = np.array([len(one) for one in actions]), self._episode.copy()
        for left, playing, action in aligned(actions):  # ALE steps all games, also those that start later
            step = self.step(action)
            begins = length == left - 1
            if begins.any():
                self._episode[begins], self._waits[begins] = episode[begins], False
                step = step._replace(observation=self._begin(begins))
            yield playing, step

    def render(self) -> Sequence[np.ndarray]:
        return list(self._picture[:, 0])

    @property
    def frames_per_second(self) -> int:
        return _FRAMES_PER_SECOND // FRAMES_PER_STEP

    def close(self) -> None:
        self._envs.close()
        if self._screens:
            self._screens.close()


def _game(env_id):
    """Returns ALE's name of a game, such as space_invaders. Importing ale_py registers the games."""
    try:
        import ale_py  # noqa: F401
    except ImportError:
        raise schema.ConfigError(
            f"--env={env_id} needs ALE, the Arcade Learning Environment, which is not installed: {_INSTALL}"
        ) from None
    name = env_id.removeprefix("ale_py:")
    if name not in gymnasium.registry:
        games = [game for game in gymnasium.registry if schema.is_atari(game)]
        nearest = difflib.get_close_matches(name, games, n=2)
        hint = f"there are {len(games)}, such as ALE/Breakout-v5; see ale.farama.org."
        if nearest:
            hint = f"did you mean {' or '.join(nearest)}?"
        problem = f"--env={env_id} is not a game of ALE; {hint}"
        raise schema.ConfigError(advice(name) or problem)
    return gymnasium.registry[name].kwargs["game"]


def _make(game, num_envs, settings, num_threads, is_picture=False):
    from ale_py import vector_env

    is_nature = settings.atari_protocol == "nature"
    height, width = _SCREEN if is_picture else (SIZE, SIZE)
    return vector_env.AtariVectorEnv(
        game,
        num_envs,
        num_threads=num_threads,
        autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP,
        max_num_frames_per_episode=_MAX_FRAMES,
        repeat_action_probability=0.0 if is_nature else 0.25,
        full_action_space=settings.atari_actions == "full",
        img_height=height,
        img_width=width,
        grayscale=not is_picture,
        stack_num=1 if is_picture else STACK,
        frameskip=FRAMES_PER_STEP,
        noop_max=_NOOPS + 1 if is_nature else 0,  # ALE draws a number below it
        use_fire_reset=is_nature,
        # episodic_life would start a new game after each life; life_loss_info looks like the end of a game.
        episodic_life=False,
        life_loss_info=False,
        reward_clipping=False,
    )

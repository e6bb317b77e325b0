"""A film of the greedy policy, written by gymnasium and moviepy: the extra [video]."""

import contextlib
import pathlib
import typing

import gymnasium
import numpy as np

from dqn_tf.config import files
from dqn_tf.config.schema import ConfigError
from dqn_tf.environment.factory import Factory
from dqn_tf.environment.spec import EnvironmentFailure

if typing.TYPE_CHECKING:
    from dqn_tf.agent.policies import Policy


def check(environments: Factory, directory: pathlib.Path) -> None:
    """Draws one picture, and makes `directory` where it is not there. Before TensorFlow is imported.

    Raises:
      ConfigError: no film can be made: the environment draws no pictures, a package to draw or to write them is not
        installed, or there is no directory for it.
    """
    try:
        from gymnasium.utils import save_video  # noqa: F401 - it imports moviepy

        with contextlib.closing(environments.make(1, render=True)) as environment:
            environment.reset([lambda _: 0])
            picture = environment.render()[0]
    except (gymnasium.error.DependencyNotInstalled, EnvironmentFailure) as error:
        missing = error.__cause__ if isinstance(error, EnvironmentFailure) else error
        if not isinstance(missing, gymnasium.error.DependencyNotInstalled):  # such as one that knows no render_mode
            raise ConfigError(f"--video: {environments.env_id} draws no pictures: {error}") from error
        raise ConfigError(
            f"--video needs a package that is not installed: {missing}; pip install -e '.[video]' has all."
        ) from None
    if picture is None:
        raise ConfigError(f"--video: {environments.env_id} draws no pictures.")
    try:
        files.make_writable(directory)
    except OSError as error:
        raise ConfigError(f"--video={directory} cannot be written: {error.strerror}.") from None


def record(
    environments: Factory,
    policy: "Policy",
    seed: int,
    max_episode_steps: int,
    directory: pathlib.Path,
    epsilon: float = 0.0,
) -> float:
    """Writes one greedy episode, an .mp4 in `directory`, and returns its undiscounted return; `check` it before.

    Args:
      epsilon: probability of a random action.
    """
    from gymnasium.utils import save_video

    from dqn_tf.agent import policies  # TensorFlow

    generators = [np.random.default_rng(seed)]
    with contextlib.closing(environments.make(1, render=True)) as environment:
        observation, frames, total = environment.reset([lambda _: seed]), [environment.render()[0]], 0.0
        legal = environment.legal
        for _ in range(max_episode_steps):
            step = environment.step(policies.nearly_greedy(policy, observation, epsilon, generators, legal))
            total += float(step.reward[0])
            if step.ended[0]:
                break
            observation, legal = step.observation, step.legal
            frames.append(environment.render()[0])
        fps = environment.frames_per_second
    save_video.save_video(frames, str(directory), episode_trigger=lambda _: True, fps=fps, name_prefix="greedy")
    return total

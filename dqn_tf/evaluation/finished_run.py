"""A run that has finished, read from its directory: to evaluate it again, or to act. Without TensorFlow at first."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from dqn_tf.agent import architecture
from dqn_tf.config import files, settings
from dqn_tf.config.schema import Config, ConfigError
from dqn_tf.environment.factory import Factory
from dqn_tf.environment.spec import EnvironmentSpec
from dqn_tf.evaluation.evaluator import Evaluator, episode_limit
from dqn_tf.evaluation.followed_run import check_trust
from dqn_tf.persistence.run_directory import RunDirectory
from dqn_tf.process import reasons


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """A run in a directory.

    Attributes:
      name: what the user calls the directory.
      path: of its model, a .keras file.
    """

    name: str
    path: pathlib.Path
    config: Config
    spec: EnvironmentSpec

    @property
    def environments(self) -> Factory:
        """What makes its environments, in this process."""
        return Factory.of(self.config, self.spec)

    def network(self) -> Any:
        """Returns its Q-network, a Keras model, and a policy that acts as it does. Raises ConfigError."""
        from dqn_tf.agent.q_network import QNetwork

        make = QNetwork(architecture.choose(self.config.network.network, self.spec), self.spec, self.config)
        network, policy = make.build(), make.policy()
        try:
            network.load_weights(self.path)
        except Exception as error:  # whatever a damaged file makes of its parsers
            line = f"--logdir={self.name}: {self.path} cannot be loaded: {reasons.reason(error)}"
            raise ConfigError(line) from error
        policy.load(network.get_weights())
        return network, policy

    def evaluate(
        self, policy: Any, episodes: int, seed: int, max_episode_steps: int | None, epsilon: float | None
    ) -> np.ndarray:
        """Returns <float64>[episodes] returns.

        Args:
          max_episode_steps, epsilon: None: as the run had them.
        """
        longest, epsilon = self.limits(max_episode_steps, epsilon)
        with contextlib.closing(Evaluator(self.environments, episodes, longest, epsilon)) as evaluator:
            return evaluator.evaluate(policy, seed)

    def limits(self, max_episode_steps: int | None, epsilon: float | None) -> tuple[int, float]:
        """Returns how long an episode may be and how often an action is random; None: as the run had it."""
        longest = episode_limit(self.config, self.spec) if max_episode_steps is None else max_episode_steps
        return longest, self.config.evaluation.eval_epsilon if epsilon is None else epsilon


def find(directory: pathlib.Path, name: str, typed: Mapping[str, Any]) -> FinishedRun:
    """Returns the finished run in a directory.

    Args:
      name: what the user calls the directory.
      typed: flags that were given, which say what modules may be imported: env, wrapper, network.
    Raises:
      ConfigError: there is none, or it is of a module that is not trusted.
    """
    try:
        values, problems = settings.from_json(files.read_object(directory / "config.json"), "config.json")
        if problems or "env" not in values:
            raise ValueError
    except (OSError, ValueError):
        raise ConfigError(f"--logdir={name} holds no run: config.json is missing or cannot be read.") from None
    path = directory / "model" / "q_network.keras"
    try:
        files.open_regular(path).close()
    except FileNotFoundError:
        raise ConfigError(f"--logdir={name} holds no finished run: there is no {name}/model/{path.name}.") from None
    except OSError as error:
        raise ConfigError(f"--logdir={name}: {path} cannot be loaded: {error.strerror}.") from None
    check_trust({name: value for name, value in values.items() if name != "loss"}, typed, name)
    config = settings.build({**values, "vectorization": "sync"})
    spec = Factory.of(config).describe()
    RunDirectory(str(directory), name).check_environment(spec)
    return FinishedRun(name, path, config, spec)

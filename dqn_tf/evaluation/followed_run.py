"""A run that somebody else trains, as those who evaluate it must know it. Without TensorFlow."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from dqn_tf.agent import architecture
from dqn_tf.agent.architecture import Architecture
from dqn_tf.config import files, settings
from dqn_tf.config.schema import Cluster, Config, ConfigError
from dqn_tf.environment.factory import Factory
from dqn_tf.environment.spec import EnvironmentSpec
from dqn_tf.persistence.run_directory import RunDirectory


@dataclasses.dataclass(frozen=True)
class FollowedRun:
    """Settings of a run, and what they stand for."""

    config: Config
    spec: EnvironmentSpec
    architecture: Architecture

    @property
    def environments(self) -> Factory:
        """What makes the environments of the run."""
        return Factory.of(self.config, self.spec)


def read(directory: RunDirectory, typed: Mapping[str, Any]) -> Config | None:
    """Returns the settings of the run in a directory, None before it has any.

    Args:
      typed: values of this command's own flags, by name: those of evaluation win, and others say what is trusted.
    Raises:
      ConfigError: they cannot be read, or are of another environment or of a module that is not trusted.
    """
    path, name = directory.path / "config.json", f"{directory.name}/config.json"
    try:
        tree = files.read_object(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{name} cannot be read: {error.strerror}.") from None
    values, problems = settings.from_json(tree, name)
    if not problems and "env" not in values:
        problems = [f"{name} names no environment."]
    if problems:
        raise ConfigError(*problems)
    check_trust(values, typed, directory.name)
    mine = {name: value for name, value in typed.items() if settings.SETTINGS[name].section == "evaluation"}
    return settings.build({**values, **mine})


def find(directory: RunDirectory, typed: Mapping[str, Any], cluster: Cluster) -> FollowedRun | None:
    """Returns the run in a directory, None before there is one.

    Args:
      cluster: this command's own settings of the cluster.
    Raises:
      ConfigError: see `read`.
    """
    config = read(directory, typed)
    if config is None:
        return None
    config = dataclasses.replace(config, cluster=cluster)
    spec = Factory.of(config).describe()
    return FollowedRun(config, spec, architecture.choose(config.network.network, spec))


def check_trust(values: Mapping[str, Any], typed: Mapping[str, Any], name: str) -> None:
    """Raises ConfigError if a run's environment, or another module that it names, may not be imported here.

    Args:
      values: settings of the run, by name.
      typed: those that were given as flags.
      name: what the user calls the run.
    """
    env = values["env"]
    if typed.get("env", env) != env:
        raise ConfigError(f"--env={typed['env']} but --logdir={name} is a run of {env}.")
    flags = [f"--{flag}={text}" for flag, text in settings.foreign(values).items() if typed.get(flag) != values[flag]]
    if flags:
        raise ConfigError(
            f"--logdir={name} is a run that names a module, which would be imported; add {' '.join(flags)} to trust it."
        )

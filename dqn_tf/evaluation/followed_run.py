"""The settings of a run that somebody else trains, for those who evaluate it. Without TensorFlow."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from dqn_tf.agent import architecture
from dqn_tf.config import files, settings
from dqn_tf.config.schema import Config, ConfigError
from dqn_tf.persistence.run_directory import RunDirectory

T = TypeVar("T")  # Plan, which is made with this


def read(directory: RunDirectory, typed: Mapping[str, Any]) -> Config | None:
    """Returns the settings of the run in a directory, None before it has any.

    Args:
      typed: values of this command's own flags, by name: those of evaluation win, and env says what is trusted.
    Raises:
      ConfigError: they cannot be read, or are of another environment or of one that is not trusted.
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
    check_trust(values["env"], typed.get("env"), directory.name)
    mine = {name: value for name, value in typed.items() if settings.SETTINGS[name].section == "evaluation"}
    return settings.build({**values, **mine})


def settle(plan: T) -> T | None:
    """Returns an evaluator's Plan with the settings of the run that it evaluates, None before there is one.

    Raises:
      ConfigError: see `read`.
    """
    config = read(plan.directory, plan.typed)
    if config is None:
        return None
    settled = dataclasses.replace(plan, config=dataclasses.replace(config, cluster=plan.config.cluster))
    spec = settled.environments.describe()
    kind = architecture.choose(config.network.network, spec.observation_shape, spec.observation_dtype)
    return dataclasses.replace(settled, spec=spec, network_kind=kind)


def check_trust(env: str, given: str | None, name: str) -> None:
    """Raises ConfigError where a run's environment may not be made here.

    Args:
      given: --env as it was typed, None where it was not.
      name: what the user calls the run.
    """
    if given is not None and given != env:
        raise ConfigError(f"--env={given} but --logdir={name} is a run of {env}.")
    if settings.foreign_module(env) and given is None:
        raise ConfigError(
            f"--logdir={name} is a run of {env}, whose module would be imported; add --env={env} to trust it."
        )

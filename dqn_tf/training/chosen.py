"""What a preset has chosen for this environment and machine: the log says it, and a run that goes on keeps it."""

import logging
from collections.abc import Mapping
from typing import Any

from dqn_tf.config import presets
from dqn_tf.config import schema as config_lib
from dqn_tf.config import settings
from dqn_tf.config.schema import Config
from dqn_tf.persistence import manifest
from dqn_tf.persistence.run_directory import RunDirectory

_log = logging.getLogger(__name__)


def as_begun(config: Config, typed: Mapping[str, Any], directory: RunDirectory) -> Config:
    """Returns the settings, where what a preset takes by the machine is as the run in the directory began with it.

    Args:
      typed: see `tell`; what was given stays.
    """
    values = settings.values_of(config)
    taken = _taken_by_the_machine(values, typed)
    made = manifest.newest_readable(directory.checkpoints) if taken else None
    for name, choices in taken.items() if made else ():
        value = settings.stored(made.config, settings.SETTINGS[name].section).get(name)
        if value in choices:
            values[name] = value
    return settings.build(values) if made else config


def tell(config: Config, typed: Mapping[str, Any]) -> None:
    """Logs choices that a user would want to know or to change.

    Args:
      typed: values of the flags that were given, by name.
    """
    env, preset = config.run.env, config.run.preset
    support, default = ((one.v_min, one.v_max) for one in (config.network, config_lib.Network()))
    if config.network.head == "categorical" and support == default and not config_lib.is_atari(env):
        _log.warning(
            "--head=categorical: values are cut to %g and %g, the defaults, which are those of Atari games; give "
            "the least and the largest discounted return of %s by --v_min and --v_max",
            *(*support, env),
        )
    if unused := presets.left_out(preset, env):
        flags = " ".join(f"--{name}={settings.to_text(value)}" for name, value in unused.items())
        _log.info("preset: %s leaves out what was found for Atari games: %s", preset, flags)
    values, defaults = settings.values_of(config), settings.values_of(Config())
    own, asked = presets.layers(preset, env)
    names = [] if "config" in typed else [name for name in own if name not in {**asked, **typed}]
    if left := [name for name in names if values[name] == defaults[name] != own[name]]:
        flags = " ".join(f"--{name}={settings.to_text(own[name])}" for name in left)
        _log.info("preset: %s leaves out what does not fit here: %s", presets.automatic(env), flags)
    for name, (without, on_gpu) in _taken_by_the_machine(values, typed).items():
        where, other = ("a", without) if values[name] == on_gpu else ("no", on_gpu)
        _log.info("preset: --%s=%s, as on a machine with %s GPU; else it is %s", name, values[name], where, other)


def _taken_by_the_machine(values, typed):
    """Returns the settings that the preset has taken, not the user: what they are without a GPU, and with one."""
    if "config" in typed:  # a file says everything
        return {}
    depends = presets.of_gpu(values["preset"], values["env"])
    return {name: both for name, both in depends.items() if name not in typed and values[name] in both}

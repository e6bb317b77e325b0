"""What a preset has chosen for this environment and machine, in the log, so that it can be given elsewhere."""

import logging
from collections.abc import Mapping
from typing import Any

from dqn_tf.config import presets
from dqn_tf.config import schema as config_lib
from dqn_tf.config import settings
from dqn_tf.config.schema import Config

_log = logging.getLogger(__name__)


def tell(config: Config, typed: Mapping[str, Any], has_gpu: bool) -> None:
    """Logs choices that a user would want to know or to change.

    Args:
      typed: values of the flags that were given, by name.
      has_gpu: whether this machine has a GPU.
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
    values = settings.values_of(config)
    for name, (without, value) in presets.of_gpu(preset, env).items():
        if has_gpu and values[name] == value and name not in typed:
            _log.info("preset: --%s=%s, because a GPU learns; without one it is %s", name, value, without)

"""Makes one Gymnasium environment by --env, --env_kwargs and --wrapper."""

import dataclasses
import functools
import inspect
from collections.abc import Callable

import gymnasium

from dqn_tf.config import schema, user_code
from dqn_tf.environment import spec


@dataclasses.dataclass(frozen=True)
class Maker:
    """Makes environments of one kind.

    Attributes:
      env_id: EnvId, module:EnvId if importing the module registers it, or module:function of one that makes it.
      kwargs: keyword arguments of the environment.
      wrappers: names, module:Class, of its wrappers, the innermost first.
    """

    env_id: str
    kwargs: schema.JsonObject = schema.NO_KWARGS
    wrappers: tuple[str, ...] = ()

    @property
    def called(self) -> str:
        """Returns the flags of this environment, for messages."""
        kwargs = f" with --env_kwargs={self.kwargs}" if self.kwargs.tree else ""
        return f"--env={self.env_id}{kwargs}" + "".join(f" in --wrapper={name}" for name in self.wrappers)

    def function(self) -> Callable[..., gymnasium.Env] | None:
        """Returns the user's function that makes it, None if gymnasium makes it by an EnvId. Raises ConfigError."""
        module, _, name = self.env_id.rpartition(":")
        given = user_code.registered("env", self.env_id)
        if given is None and module:
            imported = user_code.import_module(f"--env={self.env_id}", module, name)
            given = None if name in gymnasium.registry else getattr(imported, name, None)
        return given if callable(given) else None

    def registered(self) -> gymnasium.envs.registration.EnvSpec | None:
        """Returns gymnasium's registry entry, None if a function makes it. Raises ConfigError if there is neither."""
        return None if self.function() else spec.registered(self.env_id)

    def maker(self, render_mode: str | None = None) -> Callable[[], gymnasium.Env]:
        """Returns a picklable function that makes an environment.

        Args:
          render_mode: gymnasium's.
        Raises:
          ConfigError: there is no such environment or wrapper.
        """
        given, kwargs = self.function(), dict(self.kwargs.tree)
        if render_mode and (given is None or _takes(given, "render_mode")):
            kwargs["render_mode"] = render_mode
        if given is None:
            given = functools.partial(gymnasium.make, spec.registered(self.env_id), disable_env_checker=True)
        wrappers = tuple(user_code.find("wrapper", name) for name in self.wrappers)
        return functools.partial(_make, given, kwargs, wrappers)


def _make(make, kwargs, wrappers):
    environment = make(**kwargs)
    for wrap in wrappers:
        environment = wrap(environment)
    return environment


def _takes(function, name):
    try:
        parameters = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):
        return False
    return any(one.name == name or one.kind is one.VAR_KEYWORD for one in parameters)

"""Which module makes an environment, and with which of the run's settings."""

import dataclasses

from dqn_tf.config import schema
from dqn_tf.environment import atari, probe, spec, vector
from dqn_tf.environment.spec import Environment, EnvironmentSpec


def check_name(env_id: str) -> None:
    """Raises ConfigError where `env_id` is known to be no environment, without making one.

    For a run that is elsewhere: packages that are not installed here may be there, and a module is not imported.
    """
    if atari.is_atari(env_id):
        atari.check_name(env_id)
        return
    module, separator, name = env_id.rpartition(":")
    if not name or separator and not module:
        example = f"{module}:EnvId" if module else "CartPole-v1"
        raise schema.ConfigError(f"--env={env_id} names no environment; give one, such as --env={example}.")
    if separator:
        return
    hint = atari.advice(env_id)
    if hint:
        raise schema.ConfigError(hint)
    spec.registered(env_id)


@dataclasses.dataclass(frozen=True)
class Factory:
    """Makes environments of one run: for acting, for evaluation, for a film. All are alike and none is shared.

    Attributes:
      env_id: EnvId, or module:EnvId.
      vectorization: sync or async, of environments that are not ALE's.
      atari: how ALE's games are played.
      num_threads: that step ALE's games; 0: as many as there are cores.
      kwargs: keyword arguments that environments that are not ALE's are made with.
      spec: what `describe` has returned before, if it has.
    """

    env_id: str
    vectorization: str = "sync"
    atari: schema.Atari = schema.Atari()
    num_threads: int = 0
    kwargs: schema.JsonObject = schema.NO_KWARGS
    spec: EnvironmentSpec | None = None

    @classmethod
    def of(cls, settings: schema.Config, spec: EnvironmentSpec | None = None) -> "Factory":
        """Returns the Factory of a run's environments."""
        run = settings.run
        return cls(run.env, settings.training.vectorization, settings.atari, kwargs=run.env_kwargs, spec=spec)

    @property
    def is_atari(self) -> bool:
        """Whether these are games of ALE."""
        return atari.is_atari(self.env_id)

    def resolved(self) -> schema.Atari:
        """Returns how games are played, with `auto` replaced by what it stands for; as given where these are none."""
        return atari.resolve(self.atari) if self.is_atari else self.atari

    def describe(self) -> EnvironmentSpec:
        """Returns what the environments are, having seen one work.

        Raises ConfigError where there are none, they do not work, or settings are not theirs.
        """
        if self.is_atari:
            if self.vectorization == "async":
                raise schema.ConfigError(
                    f"--vectorization=async: games such as --env={self.env_id} are stepped by threads of ALE's; "
                    "leave it out, or give --actor_threads."
                )
            if self.kwargs.tree:
                raise schema.ConfigError(
                    f"--env_kwargs={self.kwargs}: games such as --env={self.env_id} take none; "
                    "leave it out, or see --atari_protocol and --atari_actions."
                )
            return atari.describe(self.env_id, self.atari)
        given = {name: value for name, value in dataclasses.asdict(self.atari).items() if value != "auto"}
        if self.num_threads:
            given["actor_threads"] = self.num_threads
        problems = [
            f"--{name}={value} is for Atari games, and --env={self.env_id} is none; leave it out."
            for name, value in given.items()
        ]
        if problems:
            raise schema.ConfigError(*problems)
        hint = atari.advice(self.env_id)
        if hint:
            raise schema.ConfigError(hint)
        return probe.describe(self.env_id, self.kwargs)

    def make(self, num_envs: int, render: bool = False, first_number: int = 0) -> Environment:
        """Returns `num_envs` environments that are stepped together.

        Args:
          render: whether pictures will be asked for.
          first_number: the number of the first of them in the run, for messages.
        """
        if self.is_atari:
            return atari.AtariEnvironment(self.env_id, num_envs, self.atari, self.num_threads, render)
        return vector.VectorEnvironment(
            *(self.env_id, num_envs, self.vectorization, "rgb_array" if render else None, first_number),
            *(self.kwargs, self.spec),
        )

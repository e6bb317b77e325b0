"""Makes environments by the settings of a run: games of ALE, or others of Gymnasium."""

import dataclasses

from dqn_tf.config import schema
from dqn_tf.environment import atari, minatar, probe, spec, vector
from dqn_tf.environment.maker import Maker
from dqn_tf.environment.spec import Environment, EnvironmentSpec
from dqn_tf.process import hardware


def check_name(env_id: str) -> None:
    """Raises ConfigError if `env_id` cannot be an environment, without making one or importing a module.

    For a run on another machine, which may have packages that are not installed here.
    """
    if schema.is_atari(env_id):
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
    if not schema.is_minatar(env_id) or minatar.is_installed():
        spec.registered(env_id)


@dataclasses.dataclass(frozen=True)
class Factory:
    """Makes environments of one run, for acting, evaluation and videos.

    Attributes:
      maker: makes environments that are not ALE's.
      vectorization: sync or async, for these.
      atari: how games of ALE are played.
      actor_threads: threads that step games while acting, 0 if the program chooses.
      spec: an earlier result of `describe`, if any.
    """

    maker: Maker
    vectorization: str = "sync"
    atari: schema.Atari = schema.Atari()
    actor_threads: int = 0
    spec: EnvironmentSpec | None = None

    @classmethod
    def of(cls, settings: schema.Config, spec: EnvironmentSpec | None = None) -> "Factory":
        """Returns the Factory of a run's environments."""
        run, vectorization = settings.run, settings.training.vectorization
        maker = Maker(run.env, run.env_kwargs, run.wrapper)
        return cls(maker, vectorization, settings.atari, settings.hardware.actor_threads, spec)

    @property
    def env_id(self) -> str:
        return self.maker.env_id

    @property
    def is_atari(self) -> bool:
        """Whether these are games of ALE."""
        return schema.is_atari(self.env_id)

    def resolved(self) -> schema.Atari:
        """Returns how games are played, with `auto` replaced by its meaning if these are games."""
        return atari.resolve(self.atari) if self.is_atari else self.atari

    def describe(self) -> EnvironmentSpec:
        """Makes an environment, tries it and returns its spec.

        Raises ConfigError if it cannot be made, does not work, or has settings that do not apply.
        """
        problems = [f"{line}; leave it out." for line in (self._not_of_games() if self.is_atari else self._of_games())]
        if problems:
            raise schema.ConfigError(*problems)
        if self.is_atari:
            return atari.describe(self.env_id, self.atari)
        hint = atari.advice(self.env_id)
        if hint:
            raise schema.ConfigError(hint)
        return probe.describe(self.maker)

    def _not_of_games(self):
        """Yields settings that do not apply to games."""
        if self.vectorization == "async":
            yield (
                f"--vectorization=async: games such as --env={self.env_id} are stepped by threads of ALE's, as many as "
                "--actor_threads says"
            )
        if self.maker.kwargs.tree:
            yield (
                f"--env_kwargs={self.maker.kwargs}: games such as --env={self.env_id} take none, but --atari_protocol "
                "and --atari_actions"
            )
        for name in self.maker.wrappers:
            yield f"--wrapper={name}: games such as --env={self.env_id} are stepped together in C++, and take none"

    def _of_games(self):
        """Yields settings that apply to games only."""
        given = {name: value for name, value in dataclasses.asdict(self.atari).items() if value != "auto"}
        given |= {"actor_threads": self.actor_threads} if self.actor_threads else {}
        for name, value in given.items():
            yield f"--{name}={value} is for Atari games, and --env={self.env_id} is none"

    def make(self, num_envs: int, render: bool = False, first_number: int = 0, num_threads: int = 0) -> Environment:
        """Returns `num_envs` environments that are stepped together.

        Args:
          render: whether `render` will be called.
          first_number: number of the first one in the run, for messages.
          num_threads: threads that step games of ALE; 0: one per core.
        """
        if self.is_atari:
            num_threads = num_threads or hardware.num_cores()
            return atari.AtariEnvironment(self.env_id, num_envs, self.atari, num_threads, render)
        mode = "rgb_array" if render else None
        return vector.VectorEnvironment(self.maker, num_envs, self.vectorization, mode, first_number, self.spec)

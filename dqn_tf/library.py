"""dqn_tf in Python: `train` does what the command does, in this process; `load_run` reads what a run has left.

A library is a guest: it ends no process, and changes neither signal handlers nor environment variables. What a command
does to its own process is in cli.py.
"""

import difflib
import functools
import os
import pathlib
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from dqn_tf.config import files, flags, settings, user_code
from dqn_tf.config.schema import Config, ConfigError
from dqn_tf.evaluation import acting, finished_run
from dqn_tf.persistence import rows
from dqn_tf.process import gpus
from dqn_tf.process.stopping import Stop
from dqn_tf.training import plan as plan_lib

# Building a network seeds Python's generator for a while, and tracing replaces functions of Keras's.
_ONE_AT_A_TIME = threading.RLock()

if TYPE_CHECKING:
    import keras
    from matplotlib.figure import Figure

    from dqn_tf.training.callbacks import Callback


class Run:
    """A run that has finished.

    Attributes:
      logdir: its directory.
      summary: what is in its summary.json, see docs/results.md.
      config: its settings.
    """

    def __init__(self, found: finished_run.FinishedRun, directory: pathlib.Path):
        """See `train` and `load_run`."""
        self._found = found
        self._made: tuple[Any, Any] | None = None
        self.logdir = str(directory)
        self.config = found.config
        self.summary: dict[str, Any] = files.read_object(directory / "summary.json")

    def __repr__(self) -> str:
        return (
            f"<dqn_tf.Run of {self.summary['env']} in {self.logdir}: return {self.summary['eval_return_mean']:.1f} "
            f"+- {self.summary['eval_return_std']:.1f} after {self.summary['env_steps']} env steps>"
        )

    @property
    def q_network(self) -> "keras.Model":
        """The best model: observations [B, *obs] as the network takes them in, action values <float32>[B, A] out.

        With a head of its own, such as --head=quantile, the outputs are that head's: see dqn_tf.load_model.
        """
        return self._network()[0]

    @property
    def metrics(self) -> dict[str, np.ndarray]:
        """Columns of metrics.jsonl by tag, <float64>[rows], NaN if a row lacks it; `env_steps` is <int64>.

        pandas.DataFrame(run.metrics) is a table of it.
        """
        read = rows.read(pathlib.Path(self.logdir) / rows.ROWS)
        tags = dict.fromkeys(tag for row in read for tag in row)
        columns = {tag: [row.get(tag) for row in read] for tag in tags}
        return {tag: np.array(column, np.int64 if tag == "env_steps" else float) for tag, column in columns.items()}

    def reward_curve(self) -> "Figure":
        """Returns the reward curve as a matplotlib Figure, which a notebook shows."""
        from dqn_tf.reporting import reward_curve

        title = reward_curve.title(self.config)
        return reward_curve.draw(rows.read(pathlib.Path(self.logdir) / rows.ROWS), title, self.summary["threshold"])

    def act(self, observation: Any, mask: Any = None) -> Any:
        """Returns the greedy action for an observation as the environment gives it, or <int64>[N] for a batch of N.

        Dict and Tuple observations are given as the environment gives them; a batch has one more axis in every part.
        Actions of MultiDiscrete and MultiBinary spaces are arrays, [*shape], or [N, *shape] for a batch.

        Args:
          mask: info["action_mask"], [A] or [N, A]: 1 for each action that is legal. None: all are.
        Raises:
          ValueError: the observation does not fit the environment's space, or the mask its actions.
        """
        return acting.act(self._network()[1], self._found.spec, observation, mask)

    def evaluate(
        self, episodes: int = 100, seed: int = 0, max_episode_steps: int | None = None, epsilon: float | None = None
    ) -> np.ndarray:
        """Returns the undiscounted returns of fresh episodes, <float64>[episodes].

        Args:
          seed: of the environments.
          max_episode_steps: longer episodes are cut; None: as the run had it.
          epsilon: probability of a random action; None: as the run had it.
        Raises:
          UserCodeFailure: the environment has failed.
          ValueError: an argument is out of its range.
        """
        lowest = min(episodes, 1 if max_episode_steps is None else max_episode_steps)
        if lowest < 1 or seed < 0 or not 0 <= (epsilon or 0) <= 1:
            raise ValueError("episodes and max_episode_steps are at least 1, seed at least 0, epsilon from 0 to 1")
        return self._found.evaluate(self._network()[1], episodes, seed, max_episode_steps, epsilon)

    def _network(self):
        if self._made is None:
            self._made = self._found.network()
        return self._made


def train(
    env: str | Callable[..., gymnasium.Env] | Config | None = None,
    *,
    config: Config | None = None,
    callbacks: Sequence["Callback"] = (),
    wrappers: Sequence[str | Callable[[gymnasium.Env], gymnasium.Env]] = (),
    **values: Any,
) -> Run:
    """Trains a DQN and returns the Run: the same as `dqn-tf --env=...`, to the same bits.

    May be called any number of times in a process, from any thread; calls in several threads take turns. With
    `strategy="multiworker"` this process is one of the cluster that TF_CONFIG or `tf_config=` names.

    Args:
      env: name of a Gymnasium environment, `module:EnvId`, or a function that returns an environment, itself or as
        `module:function`. A Config here is taken for `config`.
      config: settings to start from.
      callbacks: see Callback.
      wrappers: Gymnasium wrappers around every environment, the innermost first.
      values: settings by the names of the flags, such as train_env_steps=50_000; `network` and `loss` may be functions,
        and `network` a Keras model, whose weights are those to start from. They win over `config`. With the same
        `logdir` a run is resumed.
    Raises:
      ConfigError: a mistake in the arguments, with the words of the command.
      UserCodeFailure: the environment, the network, the loss or a callback has raised; what was learned has been saved.
      dqn_tf.training.outcome.EXPECTED: what else may end a run: a worker that is lost, a disk that is full.
    """
    if isinstance(env, Config):
        env, config = None, env
    _check_arguments(config, callbacks, wrappers)
    with _ONE_AT_A_TIME:
        plan = _plan(env, config, wrappers, values)
        from dqn_tf.process import startup
        from dqn_tf.training import run

        with plan.locked():
            startup.check_keras()
            place = run.train(plan, Stop(), callbacks)
    return _load(place, settings.values_of(plan.config))


def load_run(
    logdir: str | os.PathLike,
    *,
    env: str | Callable[..., gymnasium.Env] | None = None,
    wrappers: Sequence[str | Callable[[gymnasium.Env], gymnasium.Env]] = (),
    network: "str | Callable | keras.Model | None" = None,
) -> Run:
    """Returns a finished run.

    Args:
      logdir: its directory.
      env, wrappers, network: needed if the run names modules of a user's own: giving them again says that they may be
        imported.
    Raises:
      ConfigError: there is no finished run, or it cannot be read.
    """
    given = _named({"env": env, "wrapper": wrappers or None, "network": network})
    typed, problems = settings.parse_all(given)
    if problems:
        raise ConfigError(*problems)
    return _load(os.fspath(logdir), typed)


def _check_arguments(config, callbacks, wrappers):
    """Raises ConfigError if an argument that is no setting is none of its kind."""
    if config is not None and not isinstance(config, Config):
        raise ConfigError(f"config={user_code.line(repr(config))[:80]} must be a dqn_tf.Config.")
    for name, given in (("callbacks", callbacks), ("wrappers", wrappers)):
        if isinstance(given, str) or not isinstance(given, Sequence):
            raise ConfigError(f"{name}={user_code.line(repr(given))[:80]} must be a list.")
    for callback in callbacks:
        if isinstance(callback, type) or not hasattr(callback, "on_round_end"):
            raise ConfigError(f"callbacks: {user_code.line(repr(callback))[:80]} must be a dqn_tf.Callback, an object.")


def _load(logdir, typed):
    try:
        directory = pathlib.Path(files.from_user(logdir))
    except ValueError as allowed:
        raise ConfigError(f"--logdir={logdir} must be {allowed}.") from None
    found = finished_run.find(directory, logdir, typed)
    if not (directory / "summary.json").exists():
        raise ConfigError(f"--logdir={logdir} holds no finished run: there is no {logdir}/summary.json.")
    return Run(found, directory)


def _plan(env, config, wrappers, values):
    """Returns the Plan of a call. Raises ConfigError with every mistake."""
    given = _named({**values, "env": env, "wrapper": wrappers or values.get("wrapper")})
    problems = []
    for name in list(given):
        if name not in settings.SETTINGS:
            nearest = difflib.get_close_matches(name, settings.SETTINGS, n=1)
            hint = f"; did you mean {nearest[0]}?" if nearest else "; see docs/flags.md."
            problems.append(f"{name}={user_code.line(repr(given.pop(name)))[:80]} is an unknown setting{hint}")
    typed, wrong = settings.parse_all(given)
    before, has_gpu = settings.values_of(config) if config else {}, bool(gpus.visible_gpus(os.environ))
    made, contradictions = flags.combine(typed, before, given.keys() - typed.keys(), has_gpu)
    problems += wrong + contradictions
    given_all = {**typed, "config": ""} if config else typed  # it says everything, as a file does
    plan = plan_lib.make(made, problems, os.environ, time.time(), given_all)
    refusal = ""
    if plan.needs_launcher:
        refusal = (
            "--strategy=multiworker: a library starts no processes; set TF_CONFIG or give tf_config=FILE, or use the "
            "command, dqn-tf --strategy=multiworker, for a cluster on this machine."
        )
    elif plan.is_evaluator or plan.locations.is_bucket:
        what = "task_type=evaluator" if plan.is_evaluator else f"logdir={plan.locations.run}"
        refusal = f"{what} is for the command, dqn-tf."
    if refusal:
        plan.directory.abandon()
        raise ConfigError(refusal)
    return plan


@functools.cache
def _copies_of(model):
    """Returns the function that makes networks of a Keras model of the user's, with its weights."""

    def copy(shape, num_actions, settings):
        import keras

        made = keras.models.clone_model(model)
        made.set_weights(model.get_weights())
        return made

    copy.__module__, copy.__qualname__ = "keras", re.sub(r"\W", "_", model.name)
    return copy


def _named(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings by name, those that are not None, with names in place of a user's own objects."""
    named = {}
    for name, value in given.items():
        if value is None:
            continue
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if name == "wrapper" and not isinstance(value, str):
            value = [one if isinstance(one, str) else user_code.register("wrapper", one) for one in value]
        elif name in ("env", "network", "loss") and not isinstance(value, str):
            is_model = hasattr(value, "get_weights") and not isinstance(value, type)
            if not callable(value) or is_model and name != "network" or isinstance(value, gymnasium.Env):
                raise ConfigError(f"{name}={user_code.line(repr(value))[:80]} must be a name or a function.")
            value = user_code.register(name, _copies_of(value) if is_model else value)
        named[name] = list(value) if isinstance(value, tuple) else value
    return named

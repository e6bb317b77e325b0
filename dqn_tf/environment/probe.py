"""Tries an environment before training: makes it, resets it and steps it twice.

Before TensorFlow is imported this happens in a fork of this process, for four reasons. The module of --env may use
TensorFlow when it is imported, which is too early before the strategy exists. An environment of which only one may
exist is gone afterwards. Its changes of global state do not reach the run. And if it ends its process, a message
names it.
"""

import dataclasses
import functools
import logging
import multiprocessing
import os
import signal
import sys
import time

import numpy as np
from gymnasium import spaces

from dqn_tf.config import user_code
from dqn_tf.config.schema import ConfigError
from dqn_tf.environment import vector
from dqn_tf.environment.instance import Instance
from dqn_tf.environment.maker import Maker
from dqn_tf.environment.spec import EnvironmentFailure, EnvironmentSpec
from dqn_tf.process import lifeline, signals

_log = logging.getLogger(__name__)

_REPORT_SECONDS = 30.0


def describe(maker: Maker) -> EnvironmentSpec:
    """Tries an environment and returns its spec.

    Raises:
      config.ConfigError: as vector.describe, or the environment does not work.
    """
    find = functools.partial(vector.describe, maker, _play)
    if "tensorflow" in sys.modules or sys.platform != "linux":  # a fork is not safe with native threads
        return find()
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(theirs, find, os.getpid()), name="probe")
    process.start()
    theirs.close()
    try:
        begin = time.monotonic()
        while not ours.poll(_REPORT_SECONDS):
            _log.info("waiting for --env=%s to be made and stepped, since %d s", maker.env_id, time.monotonic() - begin)
        answer = ours.recv()
    except EOFError:
        process.join()
        raise ConfigError(f"--env={maker.env_id} ended the process that made it, {_how(process.exitcode)}.") from None
    finally:
        process.kill()
        process.join()
    if isinstance(answer, ConfigError):
        raise answer
    return answer or find()  # the spec cannot be pickled


def _answer(pipe, find, parent):
    """Sends the spec or the ConfigError; None if it cannot be pickled."""
    for number in signals.ASKING:
        signal.signal(number, signal.SIG_DFL)
    lifeline.follow(parent)
    try:
        answer = find()
    except ConfigError as mistake:
        answer = mistake
    try:
        pipe.send(answer)
    except Exception:  # any error of pickle
        pipe.send(None)
    os._exit(0)  # do not wait for threads of the environment


def _how(exit_code):
    return f"by signal {-exit_code}" if exit_code < 0 else f"with exit code {exit_code}"


def _play(environment, made: EnvironmentSpec) -> EnvironmentSpec:
    """Returns the spec, with `has_masks`; observations out of bounds are a warning.

    Raises:
      ConfigError: the environment does not fit its spaces.
    """
    try:
        instance = Instance(lambda: environment, made, 0)
        observation, legal = instance.begin(lambda episode: episode, 0)
        if instance.gives_mask:  # once more, and from now on masks are checked
            made = dataclasses.replace(made, has_masks=True)
            instance = Instance(lambda: environment, made, 0)
            observation, legal = instance.begin(lambda episode: episode, 0)
        seen = [observation]
        for which in (0, -1):  # the first and the last action that is legal
            number = range(made.num_actions)[which] if legal is None else int(np.flatnonzero(legal)[which])
            outcome = instance.step(number)
            seen.append(outcome.next_observation)
            legal = outcome.legal
    except EnvironmentFailure as failure:
        where = user_code.place(failure.__cause__) if failure.__cause__ else ""
        raise ConfigError(f"{failure}{where}") from failure
    bounds = spaces.flatten_space(made.observation_space)
    low, high = (np.asarray(one, np.float32).reshape(made.observation_shape) for one in (bounds.low, bounds.high))
    outside = [(one, (one < low) | (one > high)) for one in seen]
    for one, where in outside:
        if where.any():
            index = tuple(map(int, np.argwhere(where)[0]))
            _log.warning(
                "--env=%s gave an observation with %r at %s, outside of its space: %s to %s",
                *(made.env_id, one[index], list(index), low[index], high[index]),
            )
            break
    if (low == high).all():
        _log.warning("--env=%s has an observation space that holds a single observation", made.env_id)
    return made

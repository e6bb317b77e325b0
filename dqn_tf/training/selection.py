"""Which weights are the run's best: those of the evaluation with the highest mean return, the later of equal ones."""

import logging
import time
from collections.abc import Callable

import numpy as np

from dqn_tf.config import seeding
from dqn_tf.config.schema import Config
from dqn_tf.persistence import best_model
from dqn_tf.persistence.progress import Progress
from dqn_tf.persistence.run_directory import RunDirectory
from dqn_tf.persistence.storage import FOLLOWER, Storage
from dqn_tf.reporting.reporter import Reporter
from dqn_tf.training.builder import Components

_log = logging.getLogger(__name__)

_POLL_SECONDS = 1.0
_POLL_SECONDS_OF_A_BUCKET = 15.0


def evaluate(
    config: Config, parts: Components, progress: Progress, reporter: Reporter, check: Callable[[], None]
) -> np.ndarray:
    """Evaluates the learner's weights, and keeps them if none were better; returns <float64>[episodes]. The chief's.

    Args:
      check: called before every step; what it raises leaves the evaluation.
    """
    weights = parts.learner.weights()
    parts.policy.load(weights)
    seed = seeding.integer(config.run.seed, seeding.Stream.EVALUATION, progress.env_steps)
    returns = parts.evaluator.evaluate(parts.policy, seed, check)
    progress.evaluation_due = False
    mean = progress.last_return = float(returns.mean())
    progress.evaluated_env_steps = progress.env_steps
    threshold = parts.spec.reward_threshold
    if progress.threshold_env_steps is None and threshold is not None and mean >= threshold:
        progress.threshold_env_steps = progress.env_steps
        progress.threshold_seconds = reporter.wall_seconds()
    if progress.best_return is None or mean >= progress.best_return:
        progress.best_return = mean
        parts.best_model.set_weights(weights)
    reporter.evaluated(progress, returns)
    return returns


def settle(
    config: Config,
    parts: Components,
    progress: Progress,
    reporter: Reporter,
    storage: Storage,
    directory: RunDirectory,
    check: Callable[[], None],
) -> None:
    """Makes `parts.best_model` the best of all weights that were evaluated, the last ones among them; the chief's.

    An evaluator task has evaluated them, if there is one, or some of them, if there was one. One that is silent
    for --cluster_timeout is not waited for longer, and the last weights are evaluated here. So are those of a run that
    left before it was done with that.
    """
    where = (progress, storage, directory)
    found = _await(config.cluster.cluster_timeout, *where, check) if parts.is_followed else _there(*where)
    if found is not None and (progress.best_return is None or found.best_return >= progress.best_return):
        if _fits(found, parts):
            parts.best_model.set_weights(found.weights)
            for name, value in found.told.items():
                setattr(progress, name, value)
    if progress.evaluated_env_steps != progress.env_steps:
        evaluate(config, parts, progress, reporter, check)


def _await(timeout, progress, storage, directory, check):
    """Returns what the evaluator has found, once that is all; or what there is when it has been silent for too long."""
    _log.info("waiting for the evaluator, which chooses the best model, for at most %d s", timeout)
    found, heard = None, time.monotonic()
    while True:
        check()
        news = _there(progress, storage, directory)
        if news is not None and (found is None or news.evaluated_env_steps > found.evaluated_env_steps):
            found, heard = news, time.monotonic()
        if found is not None and found.evaluated_env_steps >= progress.env_steps:
            return found
        if time.monotonic() - heard > timeout:
            _log.warning(
                "the evaluator has %s for %d s (--cluster_timeout): the last model is evaluated here",
                "said nothing new" if found else "not been seen",
                timeout,
            )
            return found
        time.sleep(_POLL_SECONDS_OF_A_BUCKET if storage.is_private else _POLL_SECONDS)


def _there(progress, storage, directory):
    """Returns what an evaluator has found so far, None if there is none; it may have been an earlier command's."""
    storage.pull_best_or_warn()
    news = best_model.read(directory.path / FOLLOWER)
    return None if news is not None and news.evaluated_env_steps > progress.env_steps else news  # of another run


def _fits(found, parts):
    """Returns whether weights are those of this network; else that is a warning."""
    shapes = [tuple(weights.shape) for weights in parts.best_model.get_weights()]
    fits = [tuple(weights.shape) for weights in found.weights] == shapes
    if not fits:
        _log.warning("the evaluator's best model is not one of this network: it is passed over")
    return fits

"""The training loop: rounds of acting and learning at the same time, and what is due at their ends.

In a round the actor collects `round_env_steps` transitions with a copy of the weights while the learner makes its
updates on batches sampled before the round. The two share nothing, so the result does not depend on timing.
Whatever happens at a round's end is decided from env steps, which are equal on all workers.

A run is saved at a round's end, or in a round in which an environment has failed: then as it was before its
environments began, with the updates of the round and the weights to act with. Saving changes nothing.
"""

import concurrent.futures
import logging
import signal
import time
from collections.abc import Sequence

import numpy as np

from dqn_tf.agent import exploration
from dqn_tf.agent.update import METRICS
from dqn_tf.cluster.guard import WAITING, Heartbeat
from dqn_tf.config.schema import Config, ConfigError
from dqn_tf.config.user_code import UserCodeFailure
from dqn_tf.environment.spec import EnvironmentLost
from dqn_tf.persistence.progress import Progress
from dqn_tf.persistence.recovery import Restored
from dqn_tf.persistence.worker_state import WorkerState
from dqn_tf.process.stopping import Interrupted, Stop, Stopped
from dqn_tf.reporting.reporter import Reporter
from dqn_tf.reporting.utilization import Utilization
from dqn_tf.training import batches, resuming, selection
from dqn_tf.training.builder import Components
from dqn_tf.training.callbacks import Callbacks

_log = logging.getLogger(__name__)

_MANY_ACTIONS = 100_000  # minutes to play again
_FAILED = 1_000  # above the number of any signal


class NotSaved(Exception):
    """The last checkpoint, or the results, could not be written."""


class Loop:
    """One run on one worker, from the round it is in to its end.

    Attributes:
      utilization: how long acting and learning waited for each other.
    """

    def __init__(
        self,
        config: Config,
        components: Components,
        progress: Progress,
        reporter: Reporter,
        stop: Stop,
        heartbeat: Heartbeat,
        callbacks: Callbacks,
        restored: Restored | None,
    ):
        """Brings the environments to where the checkpoint left them, if there is one."""
        self._config = config
        self._parts = components
        self._progress = progress
        self._reporter = reporter
        self._stop = stop
        self._heartbeat = heartbeat
        self._callbacks = callbacks
        training = config.training
        self._steps_per_round = training.round_env_steps // training.num_envs
        self._has_learned = False
        self.utilization = Utilization()
        self._round_metrics: list[np.ndarray] = []
        self._episode_rows: list[Sequence[float]] = []
        self._failure: UserCodeFailure | EnvironmentLost | None = None  # of this worker's environments
        self._acting: Sequence[np.ndarray] | None = None  # the weights of a round whose updates have been made
        self._saved_env_steps, self._is_logged, self._has_warned = -1, True, False
        if not restored:
            components.actor.restart(np.zeros(training.num_envs // components.placement.num_workers, np.int64))
            return
        worker = restored.worker
        self._saved_env_steps = progress.env_steps
        self._acting = worker.acting or None
        self._round_metrics = list(worker.round_metrics)
        self._episode_rows = worker.episode_rows.tolist()
        if self._is_over:  # there is nothing left but to finish
            components.actor.hold(worker.episodes)
        else:
            resuming.play_again(worker.episodes, components, config.run.env, heartbeat)

    def run(self) -> None:
        """Runs rounds until --train_env_steps; the last one ends at or after it.

        Raises:
          Stopped: a signal came, or an environment of another worker has failed, and the run has been saved.
          UserCodeFailure, EnvironmentLost: one of this worker or a callback has, and the run has been saved.
          NotSaved: the last checkpoint could not be written.
        """
        with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="actor") as executor, self._stop.waited_for():
            if self._is_over:
                self._parts.actor.close()
            if self._progress.evaluation_due:  # the checkpoint says so too: to leave once more changes nothing
                self._leave_if(self._evaluate())
                if self._is_over:
                    self._save(is_again=True)  # no later checkpoint says that it was done
            while not self._is_over:
                self._heartbeat.heard("acting and learning")
                self._after_round(self._round(executor))
            if not self._is_logged:  # a callback has ended the run
                self._log()
            self._parts.actor.close()

    def _round(self, executor):
        """Acts and learns; returns the signal that has asked a worker to stop, 0 if none has."""
        parts, training = self._parts, self._config.training
        before, weights, sample = self._progress.env_steps, self._acting, None
        if weights is None:
            weights = parts.learner.weights()
            if before >= training.learning_starts:
                sample = batches.sample(self._config, parts.replay, parts.placement, before)
        begin = time.perf_counter()
        acting = executor.submit(self._act, weights)
        if not training.overlap:
            concurrent.futures.wait([acting])
        learning_begins = time.perf_counter()
        if sample is not None:
            self._learn(sample)
        learning_seconds = time.perf_counter() - learning_begins
        try:
            transitions, episodes, acting_seconds = acting.result()
        except (UserCodeFailure, EnvironmentLost) as failure:
            self._failure = failure
        number = self._asked()
        if number == _FAILED:  # the round's updates are made, its env steps are not
            self._acting = weights
            if before != self._saved_env_steps:
                self._save()
            self._leave_if(number)
        self._acting, self._is_logged = None, False
        parts.keep(transitions)
        if sample is not None:
            self.utilization.add(time.perf_counter() - begin, acting_seconds, learning_seconds)
        self._progress.env_steps = before + training.round_env_steps
        for step, episode_return, length in zip(*episodes, strict=True):
            self._episode_rows.append((before + (step + 1) * training.num_envs, episode_return, length))
        return number

    def _act(self, weights):
        begin = time.perf_counter()
        steps, episodes = self._parts.actor.collect(weights, self._explored(self._steps_per_round))
        transitions = self._parts.accumulator.add(steps)
        return transitions, episodes, time.perf_counter() - begin

    def _explored(self, num_steps):
        return exploration.explored(self._config, self._progress.env_steps, num_steps, self._parts.numbers)

    def _learn(self, sample):
        learner = self._parts.learner
        first = learner.num_updates + 1
        metrics, priority = learner.update(sample)
        if priority is not None:
            self._parts.replay.update_priorities(sample.row, priority)
        if not np.isfinite(metrics).all():
            raise self._diverged(f"updates {first} to {learner.num_updates}")
        if not self._has_learned:
            self._has_learned = True
            self._reporter.first_update()
        self._round_metrics.append(metrics)

    def _diverged(self, where):
        learning, last = self._config.learning, self._parts.checkpoints.latest()
        given = f"--loss={learning.loss}", f"--network={self._config.network.network}"
        advice = "".join(f"check {one}, " for one in given if ":" in one) + "lower --learning_rate or "
        advice += "--clip_norm" if learning.clip_norm else "set --clip_norm"
        last = f"The last good checkpoint is {last}." if last else "There is no checkpoint yet."
        return ConfigError(f"the loss is not finite in {where}; {advice}. {last}")

    def _after_round(self, number):
        evaluation, now = self._config.evaluation, self._progress.env_steps
        self._callbacks.tell("on_round_end", self._progress, ())
        if is_last := self._is_over:
            self._parts.actor.close()  # before evaluation: an environment may be such that only one can exist
        if is_last or self._is_due(evaluation.log_period, now):
            self._log()
        is_evaluated = is_last or self._is_due(evaluation.eval_period, now)
        if is_evaluated and not self._parts.is_followed:
            self._progress.evaluation_due = True
            number = number or self._told or self._evaluate()
        number = number or self._told
        is_saved = is_evaluated and self._parts.is_followed or self._is_due(evaluation.checkpoint_period, now)
        if number or is_saved or self._is_over:
            if self._save():
                self._callbacks.tell("on_checkpoint", self._progress, (self._parts.checkpoints.latest(),))
            elif (number or self._is_over) and not self._failure and not self._callbacks.failure:
                raise NotSaved(f"the last checkpoint, of {now} env steps, could not be written")
        self._leave_if(number or self._told)
        self._reporter.show(self._progress)

    @property
    def _is_over(self):
        return self._callbacks.is_ended or self._progress.env_steps >= self._config.training.train_env_steps

    @property
    def _told(self):
        return _FAILED if self._callbacks.has_failed else 0  # on all workers

    def _asked(self):
        """Returns, on all workers, the signal that has asked one to stop, or _FAILED for an environment, or 0."""
        self._heartbeat.heard(WAITING)
        return int(self._parts.placement.max(_FAILED if self._failure else self._stop.number))

    def _leave_if(self, number):
        """Raises what ends the run where `number` is not 0: it has been saved."""
        if not number:
            return
        if failure := self._failure or self._callbacks.failure:
            raise failure
        now = self._progress.env_steps
        if number == _FAILED:
            reason = f"an environment or a callback of another worker has failed; stopped at {now} env steps"
            _log.error("%s", reason)
            raise Stopped(signal.SIGTERM, reason)
        _log.info("stopped at %d env steps, saved; the same command resumes from there", now)
        raise Stopped(number)

    def _is_due(self, period, env_steps):
        """Returns whether the round that ends at `env_steps` reaches or passes a multiple of `period`."""
        return period > 0 and env_steps // period > (env_steps - self._config.training.round_env_steps) // period

    def _log(self):
        rows = self._parts.placement.gather(np.array(self._episode_rows).reshape(-1, 3))
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        self._progress.num_episodes += len(rows)
        metrics = {}
        if self._round_metrics:
            means = np.mean(self._round_metrics, axis=0)
            metrics = dict(zip((f"train/{name}" for name in METRICS), map(float, means), strict=True))
            metrics["train/learning_rate"] = self._parts.learner.learning_rate
        metrics["train/epsilon"] = float(self._explored(1).epsilon.mean())
        metrics |= {f"time/{name}": share for name, share in self.utilization.since_last().items()}
        self._reporter.log(self._progress, rows, metrics, self._parts.learner.num_updates)
        self._callbacks.tell("on_episode", self._progress, *((float(row[1]), int(row[2])) for row in rows))
        self._round_metrics, self._episode_rows, self._is_logged = [], [], True

    def _evaluate(self):
        """Evaluates the weights, and returns what `_asked` does then; where it was left, it stays due."""
        returns = None
        if self._parts.placement.is_chief:
            try:
                returns = selection.evaluate(self._config, self._parts, self._progress, self._reporter, self._check)
            except Interrupted:
                pass
            except (UserCodeFailure, EnvironmentLost) as failure:
                self._failure = failure
        else:
            self._progress.evaluation_due = False
        if number := self._asked():
            return number
        self._callbacks.tell("on_evaluation", self._progress, (returns,))
        return self._told

    def _check(self):
        self._heartbeat.heard_by_all("evaluating")
        self._stop.check()

    def _save(self, is_again=False):
        """Saves the run, and returns whether that was done.

        Args:
          is_again: whether there is a checkpoint of these env steps, which this one replaces.
        """
        parts = self._parts
        self._heartbeat.heard("saving")
        if parts.placement.is_chief and not all(np.isfinite(array).all() for array in parts.learner.weights()):
            raise self._diverged(f"the updates up to {parts.learner.num_updates}")
        self._progress.wall_seconds = self._reporter.wall_seconds()
        episodes = parts.actor.unfinished()
        if len(episodes.action) > _MANY_ACTIONS and not self._has_warned:
            self._has_warned = True
            advice = "" if parts.spec.max_episode_steps else f"; give {self._config.run.env} a time limit"
            _log.warning(
                "the episodes under way have %d actions, all of which a resumed run plays again%s",
                len(episodes.action),
                advice,
            )
        worker = WorkerState(
            episodes=episodes,
            sampling=parts.replay.generator.bit_generator.state,
            episode_rows=np.array(self._episode_rows, np.float64).reshape(-1, 3),
            round_metrics=np.array(self._round_metrics, np.float32).reshape(-1, len(METRICS)),
            acting=self._acting or (),
            priorities=parts.replay.priorities(),
            statistics=parts.statistics.moments if parts.statistics else None,
        )
        is_saved = parts.checkpoints.save(worker, self._reporter.journal, is_again)
        if is_saved:
            self._saved_env_steps = self._progress.env_steps
        return is_saved

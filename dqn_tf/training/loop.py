"""The training loop: rounds of acting and learning at the same time, and what is due at their ends.

In a round the actor collects `round_env_steps` transitions with a copy of the weights while the learner makes its
updates on batches sampled before the round. The two share nothing, so the result does not depend on timing.
Whatever happens at a round's end is decided from env steps, which are equal on all workers.

Environments cannot be saved. So the end of each `checkpoint_period` is an episode boundary, in every run: all
episodes are cut there and begun anew from seeds of that env step. A checkpoint elsewhere, because the run was to stop,
holds the actions since the boundary, and they are played again.
"""

import concurrent.futures
import logging
import sys
import time
from collections.abc import Sequence

import numpy as np

from dqn_tf.agent import learner as learner_lib
from dqn_tf.agent.actor import linear_epsilon
from dqn_tf.config import Config, ConfigError
from dqn_tf.training import selection
from dqn_tf.training.builder import Components
from dqn_tf.training.progress import Progress
from dqn_tf.training.reporter import Reporter
from dqn_tf.training.state import WorkerState
from dqn_tf.training.stopping import Interrupted, Stop, Stopped
from dqn_tf.training.waits import Waits
from dqn_tf.training.watchdog import WAITING, Watchdog

_log = logging.getLogger(__name__)

_GIL_SWITCH_SECONDS = 0.0005
_REPORT_SECONDS = 10.0


class NotSaved(Exception):
    """The last checkpoint could not be written."""


class Loop:
    """One run on one worker, from the round it is in to its end.

    Attributes:
      waits: how long acting and learning waited for each other.
    """

    def __init__(
        self,
        config: Config,
        components: Components,
        progress: Progress,
        reporter: Reporter,
        stop: Stop,
        watchdog: Watchdog,
    ):
        """Brings the environments to where the checkpoint left them, where there is one."""
        self._config = config
        self._parts = components
        self._progress = progress
        self._reporter = reporter
        self._stop = stop
        self._watchdog = watchdog
        training = config.training
        self._steps_per_round = training.round_env_steps // training.num_envs
        self._updates_per_round = round(training.replay_ratio * training.round_env_steps)
        self._worker_batch_size = training.batch_size // components.placement.num_workers
        self._has_learned = False
        self.waits = Waits()
        self._round_metrics: list[np.ndarray] = []
        self._episode_rows: list[Sequence[float]] = []
        self._boundary = 0  # env steps at which the episodes last began
        if components.restored:
            worker = components.restored.worker
            self._boundary = worker.boundary
            self._round_metrics = list(worker.round_metrics)
            self._episode_rows = worker.episode_rows.tolist()
            self._play_again(worker)

    def run(self) -> None:
        """Runs rounds until --train_env_steps; the last one ends at or after it.

        Raises:
          Stopped: a signal came, and the run has been saved.
          NotSaved: the last checkpoint could not be written.
        """
        sys.setswitchinterval(_GIL_SWITCH_SECONDS)  # the learner's thread gets the lock back sooner
        total = self._config.training.train_env_steps
        with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="actor") as executor, self._stop.waited_for():
            if self._progress.evaluation_due:  # the checkpoint says so too: to leave once more changes nothing
                self._evaluate()
                self._stop_if_asked()
            while self._progress.env_steps < total:
                self._watchdog.heard("acting and learning")
                self._round(executor)
                self._after_round(is_last=self._progress.env_steps >= total)

    def _play_again(self, worker):
        """Plays the actions since the last boundary, after which all is as it was when the run was saved."""
        actor, accumulator = self._parts.actor, self._parts.accumulator
        if len(worker.actions):
            _log.info("resume: playing the last %d steps of the environments again", len(worker.actions))
        count, report_at = 0, time.monotonic() + _REPORT_SECONDS
        for steps in actor.replay(worker.actions):
            accumulator.add(steps)  # its transitions are in the replay
            self._watchdog.heard("playing the environments to where they were")
            count += len(steps.action)
            if time.monotonic() > report_at:
                _log.info("resume: played %d of %d steps again", count, len(worker.actions))
                report_at = time.monotonic() + _REPORT_SECONDS
        differs = (actor.observation_digests() != worker.observation_digests).any() if len(worker.actions) else False
        if self._parts.placement.max(float(differs)):  # on any worker
            _log.warning(
                "resume: %s does not repeat itself from the same seeds and actions; its episodes begin anew, and the "
                "run is not the one that an uninterrupted run would be",
                self._config.run.env,
            )
            accumulator.clear()
            self._begin_episodes()

    def _begin_episodes(self):
        """Makes this env step an episode boundary."""
        self._boundary = self._progress.env_steps
        self._parts.actor.restart(self._parts.environment_seeds(self._boundary))

    def _round(self, executor):
        parts, training = self._parts, self._config.training
        before = self._progress.env_steps
        weights = parts.learner.weights()
        batches = None
        if before >= training.learning_starts:
            batches = parts.replay.sample(self._updates_per_round, self._worker_batch_size)
        begin = time.perf_counter()
        is_boundary = self._is_due(self._config.evaluation.checkpoint_period, before + training.round_env_steps)
        acting = executor.submit(self._act, weights, is_boundary)
        if not training.overlap:
            acting.result()
        learning_begins = time.perf_counter()
        if batches is not None:
            self._learn(batches)
        learning_seconds = time.perf_counter() - learning_begins
        transitions, episodes, acting_seconds = acting.result()
        if batches is not None:
            self.waits.add(time.perf_counter() - begin, acting_seconds, learning_seconds)
        parts.replay.add(transitions)
        self._progress.env_steps = before + training.round_env_steps
        if is_boundary:
            self._begin_episodes()
        for step, episode_return, length in zip(*episodes, strict=True):
            self._episode_rows.append((before + (step + 1) * training.num_envs, episode_return, length))

    def _act(self, weights, is_boundary):
        begin = time.perf_counter()
        steps, episodes = self._parts.actor.collect(weights, self._epsilons())
        if is_boundary:  # what is under way is cut, so that its steps are complete
            steps.truncated[-1] |= ~steps.terminated[-1]
        transitions = self._parts.accumulator.add(steps)
        return transitions, episodes, time.perf_counter() - begin

    def _epsilons(self) -> Sequence[float]:
        agent, num_envs = self._config.agent, self._config.training.num_envs
        start = self._progress.env_steps
        return [
            1.0  # random until there is something learned
            if start + t * num_envs < self._config.training.learning_starts
            else linear_epsilon(
                start + t * num_envs, agent.epsilon_initial, agent.epsilon_final, agent.epsilon_decay_env_steps
            )
            for t in range(self._steps_per_round)
        ]

    def _learn(self, batches):
        learner = self._parts.learner
        first = learner.num_updates + 1
        metrics = learner.update(batches)
        if not np.isfinite(metrics).all():
            raise self._diverged(f"updates {first} to {learner.num_updates}")
        if not self._has_learned:
            self._has_learned = True
            self._reporter.first_update()
        self._round_metrics.append(metrics)

    def _diverged(self, where):
        last = self._parts.checkpoints.latest()
        advice = "lower --learning_rate or " + ("--clip_norm" if self._config.agent.clip_norm else "set --clip_norm")
        return ConfigError(
            f"the loss is not finite in {where}; {advice}. "
            + (f"The last good checkpoint is {last}." if last else "There is no checkpoint yet.")
        )

    def _after_round(self, is_last):
        evaluation, now = self._config.evaluation, self._progress.env_steps
        if is_last or self._is_due(evaluation.log_period, now):
            self._log()
        if is_last or self._is_due(evaluation.eval_period, now):
            self._evaluate()
        number = self._asked()
        if number or is_last or self._is_due(evaluation.checkpoint_period, now):
            self._watchdog.heard("saving")
            if not self._save() and (number or is_last):
                raise NotSaved(f"the last checkpoint, of {now} env steps, could not be written")
        if number or is_last:
            self._stop_if_asked()
        self._reporter.show(self._progress)

    def _asked(self):
        """Returns the signal that has asked a worker to stop, 0 where none has: the same on all workers."""
        self._watchdog.heard(WAITING)
        return int(self._parts.placement.max(self._stop.number))

    def _stop_if_asked(self):
        number = self._asked()
        if number:
            now = self._progress.env_steps
            _log.info("stopped at %d env steps, saved; the same command goes on from there", now)
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
            metrics = dict(zip((f"train/{name}" for name in learner_lib.METRICS), map(float, means), strict=True))
            metrics["train/learning_rate"] = self._parts.learner.learning_rate
        metrics["train/epsilon"] = self._epsilons()[0]
        metrics |= {f"time/{name}": share for name, share in self.waits.since_last().items()}
        self._reporter.log(self._progress, rows, metrics, self._parts.learner.num_updates)
        self._round_metrics, self._episode_rows = [], []

    def _evaluate(self):
        if not self._parts.placement.is_chief:
            return
        try:
            selection.evaluate(self._config, self._parts, self._progress, self._reporter, self._check)
        except Interrupted:
            self._progress.evaluation_due = True

    def _check(self):
        self._watchdog.heard_by_all("evaluating")
        self._stop.check()

    def _save(self):
        """Saves the run, and returns whether that was done."""
        parts = self._parts
        if parts.placement.is_chief and not all(np.isfinite(array).all() for array in parts.learner.weights()):
            raise self._diverged(f"the updates up to {parts.learner.num_updates}")
        self._progress.wall_seconds = self._reporter.wall_seconds()
        actor = parts.actor
        worker = WorkerState(
            boundary=self._boundary,
            actions=np.concatenate(actor.actions) if actor.actions else np.empty((0, len(actor.generators)), np.int32),
            observation_digests=actor.observation_digests(),
            exploration=[generator.bit_generator.state for generator in actor.generators],
            sampling=parts.replay.generator.bit_generator.state,
            episode_rows=np.array(self._episode_rows, np.float64).reshape(-1, 3),
            round_metrics=np.array(self._round_metrics, np.float32).reshape(-1, len(learner_lib.METRICS)),
        )
        return parts.checkpoints.save(worker, self._reporter.journal)

"""A run that was saved is brought to where it was: variables, replay, random generators, and then environments."""

import logging
import time

from dqn_tf.agent import optimizers
from dqn_tf.agent.actor import Unfinished
from dqn_tf.cluster.guard import WAITING, Heartbeat
from dqn_tf.config import seeding, settings
from dqn_tf.config.seeding import Stream
from dqn_tf.persistence import identity
from dqn_tf.persistence.progress import Progress
from dqn_tf.persistence.recovery import Restored
from dqn_tf.training import batches, builder
from dqn_tf.training.builder import Components
from dqn_tf.training.plan import Plan

_log = logging.getLogger(__name__)

_REPORT_SECONDS = 10.0


def restore(plan: Plan, parts: Components, progress: Progress) -> Restored | None:
    """Restores the parts and `progress` from the newest good checkpoint, if there is one; returns what it holds.

    The episodes in it are still to be played again. All workers must call it. Raises ConfigError.
    """
    config, placement = plan.config, parts.placement
    restored = parts.checkpoints.restore(config.training.replay_capacity)
    if restored:
        if placement.is_chief:
            _log_resume(plan, parts, restored, progress)
        state = restored.worker.sampling
        if not state:  # another number of workers: streams of its own
            fresh = seeding.generator(config.run.seed, Stream.REPLAY, placement.worker_index, progress.env_steps)
            state = fresh.bit_generator.state
        parts.replay.generator.bit_generator.state = state
        if parts.statistics:
            parts.statistics.restore(restored.worker.statistics)
    return restored


def _log_resume(plan, parts, restored, progress):
    where = f"{plan.directory.name.rstrip('/')}/checkpoints/{restored.path.name}"
    num_workers = parts.placement.num_workers
    _log.info("resume: %s at %d env steps, %d updates", where, progress.env_steps, parts.learner.num_updates)
    if restored.num_workers != num_workers:
        _log.info(
            "resume: from %d to %d workers; replay and environments are dealt out again, so the run is the same in "
            "meaning, not in its bits",
            restored.num_workers,
            num_workers,
        )
    _log_schedules(plan.config, restored.config, progress.env_steps, parts.learner.num_updates)
    changes = identity.changes(restored.config, settings.to_json(plan.config))
    changes += identity.changed(restored.versions, builder.machine(plan))
    if parts.placement.gpus and not plan.config.hardware.deterministic:
        _log.info("resume: not to the bit, because a GPU does not repeat itself without --deterministic")
    if changes:
        _log.info("resume: the result may be another than that of an uninterrupted run: %s", "; ".join(changes))


def _log_schedules(config, before, env_steps, num_updates):
    """Warns of schedules that have another length than before."""
    old = settings.build(settings.from_json(before, "")[0])
    was, now = old.training.train_env_steps, config.training.train_env_steps
    given = f"resume: --train_env_steps was {was} and is {now}"
    lengths = [optimizers.decay_env_steps(one) for one in (old, config)]
    if config.learning.learning_rate_schedule in ("linear", "cosine") and lengths[0] != lengths[1]:
        schedules = (optimizers.schedule(one.learning, optimizers.decay_updates(one)) for one in (old, config))
        _log.warning(
            "%s: the learning rate goes from %.3g to %.3g, because --learning_rate_schedule=%s went over %d env steps "
            "and goes over %d; --learning_rate_decay_env_steps=%d keeps the old schedule",
            *(given if was != now else "resume", *(float(rate(num_updates)) for rate in schedules)),
            *(config.learning.learning_rate_schedule, *lengths, lengths[0]),
        )
    if config.replay.replay == "prioritized" and was != now:
        betas = (batches.importance_exponent(one, env_steps) for one in (old, config))
        _log.warning("%s: the importance exponent goes from %.3g to %.3g", given, *betas)


def play_again(episodes: Unfinished, parts: Components, env_id: str, heartbeat: Heartbeat) -> None:
    """Brings environments and accumulator to where they were when the run was saved.

    An environment that does not repeat itself is named in a warning, and new episodes begin. All workers must call it.

    Raises:
      EnvironmentFailure, EnvironmentLost: an environment has failed.
    """
    actor, accumulator = parts.actor, parts.accumulator
    longest = int(episodes.length.max())
    _log.info("resume: playing the episodes under way again, %d actions", len(episodes.action))
    count, report_at = 0, time.monotonic() + _REPORT_SECONDS
    for steps in actor.replay(episodes):
        accumulator.add(steps)  # its transitions are in the replay
        parts.replay.keep_noted(actor.noted, accumulator.waiting)
        heartbeat.heard_by_all("playing the environments to where they were")
        count += len(steps.action)
        if time.monotonic() > report_at:
            _log.info("resume: played %d of %d steps again", count, longest)
            report_at = time.monotonic() + _REPORT_SECONDS
    heartbeat.heard(WAITING)
    differs = (actor.unfinished().checksum != episodes.checksum).any()
    if parts.placement.max(float(differs)):  # on any worker
        _log.warning(
            "resume: %s does not repeat itself from the same seeds and actions; new episodes begin, and the run is not "
            "the one that an uninterrupted run would be",
            env_id,
        )
        accumulator.clear()
        actor.restart(episodes.episode + 1)

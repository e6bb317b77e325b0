"""Environments cannot be saved: a resumed run plays the episodes that were under way again."""

import logging
import time

from dqn_tf.agent.actor import Unfinished
from dqn_tf.cluster.guard import WAITING, Heartbeat
from dqn_tf.training.builder import Components

_log = logging.getLogger(__name__)

_REPORT_SECONDS = 10.0


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

"""How acting and learning share the cores of this machine. Without TensorFlow: it must be told before it starts."""

import dataclasses

from dqn_tf.agent.architecture import Architecture
from dqn_tf.config.schema import Hardware


@dataclasses.dataclass(frozen=True)
class Threads:
    """Threads of one process.

    Attributes:
      learner: that share one TensorFlow operation; 0 leaves it to TensorFlow.
      operations: that run operations side by side; 0 leaves it to TensorFlow.
      actor: that step ALE's games.
      reason: the choice in words, for the log.
    """

    learner: int
    operations: int
    actor: int
    reason: str


def choose(
    hardware: Hardware,
    architecture: Architecture,
    num_cores: int,
    local_workers: int,
    has_peers: bool,
    is_atari: bool = True,
    is_bounded: bool = False,
    has_gpu: bool = False,
) -> Threads:
    """Returns the threads of one process.

    Small matrices lose more by being shared out than they gain, and several workers lose by every further thread that
    wakes between two all-reduces (two cores: 1.6 ms an update against 2.1). Convolutions gain from every core, and
    acting needs little beside them: one thread of the actor's keeps the learner from waiting.

    Args:
      num_cores: that the machine gives.
      local_workers: processes of this run that share them.
      has_peers: whether updates wait for other processes.
      is_atari: whether there are games to step.
      is_bounded: whether these are fewer cores than TensorFlow would count.
      has_gpu: whether a GPU learns, which leaves the cores to the games.
    """
    share = max(1, num_cores // local_workers)
    if not architecture.is_convolutional:
        learner, operations, reason = 1, int(has_peers), "small matrices lose by being shared out"
    else:
        given = f" of the {num_cores} that the container is given" if is_bounded else ""
        learner, operations, reason = share, 0, f"convolutions gain from every core, here {share}{given}"
    if is_bounded:
        operations = operations or max(2, share)
    actor = 1 if not architecture.is_convolutional else max(1, share // 2)
    if has_gpu and architecture.is_convolutional:
        actor, reason = share, f"a GPU learns, and leaves the cores to the games, here {share}"
    asked = [f"--{name}={value}" for name in ("learner_threads", "actor_threads") if (value := getattr(hardware, name))]
    learner, actor = hardware.learner_threads or learner, hardware.actor_threads or actor
    games = f", {actor} for stepping games" if is_atari else ""
    text = f"{learner} for an operation of the learner{games}, because "
    return Threads(learner, operations, actor, text + (" and ".join(asked) if asked else reason))

"""One worker's part of a checkpoint, without its replay."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dqn_tf.agent.actor import Unfinished
from dqn_tf.agent.learner import METRICS
from dqn_tf.config import files
from dqn_tf.config.schema import one_line
from dqn_tf.experience.sampling import Priorities
from dqn_tf.persistence.archive import Invalid

_EPISODES = ("episode", "length", "action", "checksum")
_ACTING = "acting_"
_PRIORITIES = ("priorities", "largest_priority")  # of a run with prioritized replay


@dataclasses.dataclass(frozen=True)
class WorkerState:
    """The state of a worker at the end of a round.

    Attributes:
      episodes: unfinished episodes in its environments.
      sampling: state of the replay's generator; None: a new generator is made.
      episode_rows: <float64>[E, 3] ended episodes that are not yet in a row of metrics.
      round_metrics: <float32>[R, M] metrics of the rounds since the last row.
      acting: the weights to act with in the next round; empty if there were no updates yet.
      priorities: of the transitions in the replay; None if it samples uniformly.
    """

    episodes: Unfinished
    sampling: Mapping[str, Any] | None
    episode_rows: np.ndarray
    round_metrics: np.ndarray
    acting: Sequence[np.ndarray] = ()
    priorities: Priorities | None = None

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Returns the state as named arrays."""
        text = {"exploration": list(self.episodes.exploration), "sampling": self.sampling}
        episodes = {name: getattr(self.episodes, name) for name in _EPISODES}
        return {
            "state": np.array(json.dumps(text)),
            **episodes,
            "episode_rows": self.episode_rows,
            "round_metrics": self.round_metrics,
            **{f"{_ACTING}{i}": array for i, array in enumerate(self.acting)},
            **(dict(zip(_PRIORITIES, map(np.asarray, self.priorities), strict=True)) if self.priorities else {}),
        }

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, np.ndarray],
        num_envs: int,
        num_actions: int,
        env_steps: int,
        num_workers: int,
        num_priorities: int | None = None,
    ) -> "WorkerState":
        """Returns the state that `to_arrays` was called on.

        Args:
          num_envs: of this worker.
          env_steps: of all `num_workers`.
          num_priorities: transitions in this worker's replay; None if it samples uniformly.
        Raises:
          Invalid: the arrays are not the state of such a worker.
        """
        try:
            text = files.parse(str(arrays["state"]))
            made = cls(
                episodes=Unfinished(*(arrays[name] for name in _EPISODES), exploration=text["exploration"]),
                sampling=text["sampling"],
                episode_rows=arrays["episode_rows"],
                round_metrics=arrays["round_metrics"],
                acting=[arrays[f"{_ACTING}{i}"] for i in range(sum(name.startswith(_ACTING) for name in arrays))],
                priorities=None if num_priorities is None else Priorities(*(arrays[name] for name in _PRIORITIES)),
            )
            made._check(num_envs, num_actions)
            if made.priorities:
                _check_priorities(*made.priorities, num_priorities)
            longest, last = made.episodes.length.max(initial=0), made.episode_rows[:, 0].max(initial=0)
            if longest * num_envs * num_workers > env_steps or last > env_steps:
                raise ValueError(f"its episodes are longer than {env_steps} env steps")
            return made
        except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
            reason = one_line(f"{type(error).__name__}: {error}")[:200]
            raise Invalid(f"a worker's state cannot be read: {reason}") from None

    def _check(self, num_envs, num_actions):
        """Raises ValueError, TypeError or the like if a part cannot be right."""
        episode, length, action, checksum, exploration = self.episodes
        if len(exploration) != num_envs:
            raise ValueError(f"it is of {len(exploration)} environments, not of {num_envs}")
        rows = (("episode_rows", self.episode_rows, np.float64), ("round_metrics", self.round_metrics, np.float32))
        for name, array, dtype in (*rows, *((_ACTING, weights, np.float32) for weights in self.acting)):
            if array.dtype != dtype or not np.isfinite(array).all():
                raise ValueError(f"{name} are not finite")
        shapes = episode.shape, length.shape, checksum.shape, self.episode_rows.shape[1:], action.ndim
        is_whole = shapes == ((num_envs,), (num_envs,), (num_envs,), (3,), 1)
        if not is_whole or self.round_metrics.shape[1:] != (len(METRICS),):
            raise ValueError("its parts do not fit together")
        dtypes = episode.dtype, length.dtype, checksum.dtype, action.dtype
        if dtypes != (np.int64, np.int64, np.uint32, np.int32):
            raise ValueError("its numbers are of other types")
        if (episode < 0).any() or (episode >= 2**31).any() or (length < 0).any() or length.sum() != len(action):
            raise ValueError("its episodes are none")
        if ((action < 0) | (action >= num_actions)).any():
            raise ValueError(f"an action is not below {num_actions}")
        for generator in (*exploration, *filter(None, [self.sampling])):
            np.random.PCG64().state = generator


def _check_priorities(held, largest, count):
    """Raises ValueError if these cannot be the priorities of `count` transitions."""
    if (held.dtype, held.shape, largest.dtype, largest.shape) != (np.float64, (count,), np.float64, ()):
        raise ValueError(f"they are not the priorities of {count} transitions")
    if not (np.isfinite(largest) and largest > 0 and ((held >= 0) & (held <= largest)).all()):
        raise ValueError("its priorities are none")


def deal(states: Sequence[WorkerState], num_workers: int) -> list[WorkerState]:
    """Returns states for `num_workers` from those of another number of workers. Environments keep their order.

    The chief gets the rows of metrics. Sampling starts with new generators. Priorities are dealt with the transitions,
    see ReplaySegments.restore.
    """
    each = [one for state in states for one in _single(state.episodes)]
    episode_rows = np.concatenate([state.episode_rows for state in states])
    count = len(each) // num_workers
    return [
        WorkerState(
            episodes=_joined(each[worker * count : (worker + 1) * count]),
            sampling=None,
            episode_rows=episode_rows if worker == 0 else episode_rows[:0],
            round_metrics=states[0].round_metrics,
            acting=states[0].acting,
        )
        for worker in range(num_workers)
    ]


def _single(episodes):
    """Returns the episodes of N environments as N of one each."""
    actions = np.split(episodes.action, np.cumsum(episodes.length)[:-1])
    return [
        Unfinished(
            episodes.episode[i : i + 1],
            episodes.length[i : i + 1],
            action,
            episodes.checksum[i : i + 1],
            episodes.exploration[i : i + 1],
        )
        for i, action in enumerate(actions)
    ]


def _joined(each):
    *arrays, exploration = zip(*each, strict=True)
    return Unfinished(*map(np.concatenate, arrays), exploration=[state for one in exploration for state in one])

"""What a checkpoint holds of one worker, apart from its replay."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dqn_tf import files
from dqn_tf.agent.learner import METRICS
from dqn_tf.config import one_line
from dqn_tf.training.archive import Invalid


@dataclasses.dataclass(frozen=True)
class WorkerState:
    """Where a worker stands at the end of a round.

    Attributes:
      boundary: env steps of all workers at which its environments were last reset.
      actions: <int32>[T, N], those since then, which bring its N environments to where they are.
      observation_digests: <uint8>[N, 32], SHA-256 of what they then show.
      exploration: states of the generators of the N environments.
      sampling: state of the replay's generator; None: it is to be a new one.
      episode_rows: <float64>[E, 3] episodes that ended and are not yet in a row of metrics.
      round_metrics: <float64>[R, M] metrics of the rounds since the last row.
    """

    boundary: int
    actions: np.ndarray
    observation_digests: np.ndarray
    exploration: Sequence[Mapping[str, Any]]
    sampling: Mapping[str, Any] | None
    episode_rows: np.ndarray
    round_metrics: np.ndarray

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Returns it as named arrays."""
        text = {"boundary": self.boundary, "exploration": list(self.exploration), "sampling": self.sampling}
        return {
            "state": np.array(json.dumps(text)),
            "actions": self.actions,
            "observation_digests": self.observation_digests,
            "episode_rows": self.episode_rows,
            "round_metrics": self.round_metrics,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], num_envs: int, num_actions: int) -> "WorkerState":
        """Returns what `to_arrays` gave. Raises Invalid where it is none of so many environments and actions."""
        try:
            text = files.parse(str(arrays["state"]))
            made = cls(**text, **{name: arrays[name] for name in arrays if name != "state"})
            made._check(num_envs, num_actions)
            return made
        except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
            reason = one_line(f"{type(error).__name__}: {error}")[:200]
            raise Invalid(f"a worker's state cannot be read: {reason}") from None

    def _check(self, num_envs, num_actions):
        """Raises ValueError, TypeError or the like where a part is not what it should be."""
        if len(self.exploration) != num_envs:
            raise ValueError(f"it is of {len(self.exploration)} environments, not of {num_envs}")
        for name, rows, dtype in (
            ("episode_rows", self.episode_rows, np.float64),
            ("round_metrics", self.round_metrics, np.float32),
        ):
            if rows.dtype != dtype or not np.isfinite(rows).all():
                raise ValueError(f"{name} are not finite")
        if (self.actions >= num_actions).any():
            raise ValueError(f"an action is not below {num_actions}")
        shapes = self.actions.shape[1:], self.observation_digests.shape, self.episode_rows.shape[1:]
        is_boundary = type(self.boundary) is int and self.boundary >= 0
        is_whole = shapes == ((num_envs,), (num_envs, 32), (3,))
        if not is_whole or self.round_metrics.shape[1:] != (len(METRICS),) or not is_boundary:
            raise ValueError("its parts do not fit together")
        if self.actions.dtype != np.int32 or (self.actions < 0).any():
            raise ValueError("its actions are none")
        for generator in (*self.exploration, *filter(None, [self.sampling])):
            np.random.PCG64().state = generator


def deal(states: Sequence[WorkerState], num_workers: int) -> list[WorkerState]:
    """Returns the states of `num_workers` from those of another number: environments go in order, none is lost.

    What is not any environment's goes to the chief. Generators of sampling begin anew.
    """
    exploration = [one for state in states for one in state.exploration]
    actions = np.concatenate([state.actions for state in states], axis=1)
    digests = np.concatenate([state.observation_digests for state in states])
    episode_rows = np.concatenate([state.episode_rows for state in states])
    count = len(exploration) // num_workers
    dealt = []
    for worker in range(num_workers):
        mine = slice(worker * count, (worker + 1) * count)
        rows = episode_rows if worker == 0 else episode_rows[:0]
        dealt.append(
            WorkerState(
                boundary=states[0].boundary,
                actions=actions[:, mine],
                observation_digests=digests[mine],
                exploration=exploration[mine],
                sampling=None,
                episode_rows=rows,
                round_metrics=states[0].round_metrics,
            )
        )
    return dealt

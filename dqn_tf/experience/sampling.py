"""Which transitions are drawn from a replay: all equally often, or by their priorities."""

from typing import NamedTuple

import numpy as np

from dqn_tf.experience.sum_tree import SumTree

_LEAST_PRIORITY = 1e-6  # so that a transition without an error is drawn again


class Ring(NamedTuple):
    """The rows of a ring buffer that hold transitions.

    Attributes:
      first: number of the first transition; number n is in row n % capacity.
      num_held: at least 1.
      capacity: number of rows.
    """

    first: int
    num_held: int
    capacity: int

    def draw(self, generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        """Returns rows <int64>[*shape] drawn uniformly, with replacement."""
        row = generator.integers(self.num_held, size=shape)
        return row if self.num_held == self.capacity else (self.first + row) % self.capacity


class Priorities(NamedTuple):
    """What a prioritized replay knows of its transitions, for a checkpoint.

    Attributes:
      held: <float64>[N] of at least 0, of the transitions held, oldest first.
      largest: of all priorities so far, above 0.
    """

    held: np.ndarray
    largest: float


class Uniform:
    """Draws all transitions equally often, and has no priorities."""

    def draw(
        self, generator: np.random.Generator, num_batches: int, batch_size: int, ring: Ring, importance_exponent: float
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns rows <int64>[K, B], and their importance weights <float32>[K, B] if they have priorities."""
        return ring.draw(generator, (num_batches, batch_size)), None

    def add(self, first_row: int, num_new: int) -> None:
        """Notes that so many rows have new transitions, from `first_row` on around the ring."""

    def update(self, rows: np.ndarray, priorities: np.ndarray) -> None:
        """Notes the priorities <float32>[K, B] of rows <int64>[K, B], in order of time: the last of a row counts."""

    def priorities(self, rows: np.ndarray) -> Priorities | None:
        """Returns the priorities of rows <int64>[N], oldest first; None if there are none."""
        return None

    def restore(self, rows: np.ndarray, priorities: Priorities) -> None:
        """Takes back what `priorities` has returned, for these rows."""

    def clear(self) -> None:
        """Forgets all rows."""


class Prioritized(Uniform):
    """Draws transitions in proportion to their priorities: proportional prioritized experience replay.

    p_i = (|priority_i| + 1e-6)^priority_exponent;  P(i) = p_i / sum_k p_k;  weight_i = (N * P(i))^-importance_exponent.

    N is the number of transitions held. A new transition has the largest p so far, which begins at 1. Each batch of B
    takes one transition from each of B equal parts of the sum, in their order. Where all p are 0, it draws uniformly.

    The weights must still be divided by the largest of their round (training/batches.py).

    Of W workers, each draws B / W of a batch from its own part of the replay, with its own N and sum. If workers hold
    equally many, this is right: a place in a batch has transition i of worker w with probability 1/W * p_i / sum_w, and
    the whole replay has W * N transitions, so their product is N * P(i) of the worker, which the weights correct. They
    do even if the sums differ. Only how often a worker's part is drawn then follows its size and not its sum.

    Source: Schaul et al. 2016, algorithm 1 and appendix B.2.1 (arXiv:1511.05952).
    """

    def __init__(self, capacity: int, priority_exponent: float):
        """Prepares for `capacity` rows; a priority_exponent of 0 draws uniformly."""
        self._capacity = capacity
        self._exponent = priority_exponent
        self._tree = SumTree(capacity)
        self._largest = 1.0

    @staticmethod
    def expected_nbytes(capacity: int) -> int:
        """Returns the bytes of the tree of a full buffer."""
        return 16 * capacity

    def draw(
        self, generator: np.random.Generator, num_batches: int, batch_size: int, ring: Ring, importance_exponent: float
    ) -> tuple[np.ndarray, np.ndarray]:
        total = self._tree.total
        if not total > 0:
            row = ring.draw(generator, (num_batches, batch_size))
            return row, np.ones(row.shape, np.float32)
        part = np.arange(batch_size)[:, None]
        # [B, K], so that targets which are near each other are found one after the other.
        target = (part + generator.random((batch_size, num_batches))) * (total / batch_size)
        row = self._tree.find(target.ravel())
        scaled = self._tree.values(row) * (ring.num_held / total)  # N * P(i)
        weight = scaled.astype(np.float32) ** np.float32(-importance_exponent)
        return tuple(np.ascontiguousarray(one.reshape(target.shape).T) for one in (row, weight))

    def add(self, first_row: int, num_new: int) -> None:
        self._tree.update(np.arange(first_row, first_row + num_new) % self._capacity, self._largest)

    def update(self, rows: np.ndarray, priorities: np.ndarray) -> None:
        p = (np.abs(priorities.ravel().astype(np.float64)) + _LEAST_PRIORITY) ** self._exponent
        self._largest = max(self._largest, float(p.max()))
        self._tree.update(rows.ravel(), p)

    def priorities(self, rows: np.ndarray) -> Priorities:
        return Priorities(self._tree.values(rows), self._largest)

    def restore(self, rows: np.ndarray, priorities: Priorities) -> None:
        self._tree.update(rows, priorities.held)
        self._largest = priorities.largest

    def clear(self) -> None:
        self._tree.clear()
        self._largest = 1.0

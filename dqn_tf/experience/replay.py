"""Ring buffer of transitions."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from dqn_tf.experience import accumulator, sampling


class Sample(NamedTuple):
    """Transitions to learn from, K batches of B.

    Attributes:
      transitions: of leading shape [K, B].
      importance_weight: <float32>[K, B] factors of their losses; None: 1.
      row: <int64>[K, B] their rows in the buffer, by which priorities are updated; None if there are none. Weights and
        rows come together or not at all.
    """

    transitions: accumulator.Transitions
    importance_weight: np.ndarray | None = None
    row: np.ndarray | None = None


class Replay:
    """Keeps the newest `capacity` transitions and samples them, uniformly or as it is told.

    Attributes:
      generator: the only source of randomness of `sample`.
    """

    def __init__(
        self,
        capacity: int,
        observation_shape: tuple[int, ...],
        observation_dtype: np.typing.DTypeLike,
        generator: np.random.Generator,
        sampler: sampling.Uniform | None = None,
        mask_nbytes: int = 0,
    ):
        """Makes an empty buffer of `capacity` >= 1 transitions; shape and dtype are of one observation.

        Args:
          mask_nbytes: bytes of the legal actions of an observation; 0: there are no masks.
          sampler: chooses what is sampled, and serves this buffer alone; None: a uniform one.
        """
        observations = (capacity, *observation_shape)
        self._capacity = capacity
        self.generator = generator
        self._sampler = sampler or sampling.Uniform()
        self._origin = 0  # the number of the first transition; number n is kept in row n % capacity
        self._num_added = 0
        # np.empty: the system gives memory only to pages that are written.
        self._storage = accumulator.Transitions(
            s_tm1=np.empty(observations, observation_dtype),
            a_tm1=np.empty(capacity, np.int32),
            r_t=np.empty(capacity, np.float32),
            discount_t=np.empty(capacity, np.float32),
            s_t=np.empty(observations, observation_dtype),
        )
        if mask_nbytes:
            masks = (np.empty((capacity, mask_nbytes), np.uint8) for _ in range(2))
            self._storage = accumulator.MaskedTransitions(*self._storage, *masks)

    def __len__(self) -> int:
        """Number of transitions held."""
        return min(self._num_added - self._origin, self._capacity)

    @property
    def num_added(self) -> int:
        """Number of transitions ever added: the next one has this number."""
        return self._num_added

    @property
    def nbytes(self) -> int:
        """Bytes of storage when full."""
        return sum(column.nbytes for column in self._storage)

    @staticmethod
    def expected_nbytes(
        capacity: int, observation_shape: tuple[int, ...], observation_dtype: np.typing.DTypeLike, mask_nbytes: int = 0
    ) -> int:
        """Returns the bytes of a full buffer."""
        observation_nbytes = math.prod(observation_shape) * np.dtype(observation_dtype).itemsize
        return capacity * (observation_nbytes + 4 + 4 + 4 + observation_nbytes + 2 * mask_nbytes)

    def noted(self, observations: np.ndarray) -> np.ndarray:
        """Returns what transitions may have in place of observations [N, *obs] of N environments; here themselves.

        Called with those of every step, by one thread at a time, also while others are sampled and learned from. The
        observations must not be changed before the next call.
        """
        return observations

    def keep_noted(self, *needed: np.ndarray) -> None:
        """Forgets what `noted` has returned, but for the last observations and those of transitions to come."""

    def add(self, transitions: accumulator.Transitions) -> None:
        """Stores transitions of leading shape [M] in place of the oldest; of M > capacity it keeps the newest.

        Raises:
          TypeError: of another kind of dtype, such as float observations in a uint8 buffer.
        """
        num_new = len(transitions.r_t)
        num_kept = min(num_new, self._capacity)
        start = (self._num_added + num_new - num_kept) % self._capacity
        num_first = min(num_kept, self._capacity - start)  # as many as fit before the ring wraps
        for stored, new in zip(self._storage, transitions, strict=True):
            kept = new[num_new - num_kept :]
            np.copyto(stored[start : start + num_first], kept[:num_first])
            np.copyto(stored[: num_kept - num_first], kept[num_first:])
        self._num_added += num_new
        self._sampler.add(start, num_kept)

    def overwritten(self, num_new: int) -> accumulator.Transitions:
        """Returns copies of the transitions that num_new <= capacity new ones will overwrite, oldest first."""
        num_held = len(self)
        num_lost = max(num_held + num_new - self._capacity, 0)
        return self._rows((self._num_added - num_held + np.arange(num_lost)) % self._capacity)

    def sample(self, num_batches: int, batch_size: int, importance_exponent: float = 0.0) -> Sample:
        """Returns copies of transitions drawn with replacement, of leading shape [num_batches, batch_size].

        Args:
          importance_exponent: of the weights, see sampling.Prioritized; uniform samples have none.
        Raises:
          ValueError: the buffer is empty.
        """
        if not len(self):
            raise ValueError("The replay buffer is empty; add transitions before sampling.")
        ring = sampling.Ring(self._origin, len(self), self._capacity)
        row, weight = self._sampler.draw(self.generator, num_batches, batch_size, ring, importance_exponent)
        transitions = self._rows(row)
        return Sample(transitions) if weight is None else Sample(transitions, weight, row)

    def blank(self, num_batches: int, batch_size: int) -> Sample:
        """Returns a sample like those of `sample` of which all is 0, and all actions are legal."""
        leading = num_batches, batch_size
        transitions = self._storage._make(np.zeros((*leading, *one.shape[1:]), one.dtype) for one in self._storage)
        for name in transitions._fields[len(accumulator.Transitions._fields) :]:
            getattr(transitions, name).fill(255)
        if self._sampler.priorities(np.zeros(0, np.int64)) is None:
            return Sample(transitions)
        return Sample(transitions, np.zeros(leading, np.float32), np.zeros(leading, np.int64))

    def _rows(self, index):
        """Returns copies of the transitions in rows <int>[...]."""
        return self._storage._make(column.take(index, axis=0) for column in self._storage)

    def update_priorities(self, row: np.ndarray, priority: np.ndarray) -> None:
        """Sets the priorities of a sample's transitions, with nothing added since: `row` of the Sample, `priority`
        <float32>[K, B]. Of a transition that was drawn several times the last one counts.
        """
        self._sampler.update(row, priority)

    def priorities(self) -> sampling.Priorities | None:
        """Returns the priorities of all transitions held; None if it samples uniformly."""
        return self._sampler.priorities(self._held_rows())

    def restore_priorities(self, priorities: sampling.Priorities) -> None:
        """Takes back what `priorities` has returned when the buffer held these transitions."""
        self._sampler.restore(self._held_rows(), priorities)

    def _held_rows(self):
        """Returns the rows <int64>[N] of all transitions held, oldest first."""
        return np.arange(self._num_added - len(self), self._num_added) % self._capacity

    def packed(self, first: int, end: int) -> dict[str, np.ndarray]:
        """Returns copies of the transitions numbered first to end - 1, which the buffer must hold, by column."""
        return self._rows(np.arange(first, end) % self._capacity)._asdict()

    def begin_at(self, number: int) -> None:
        """Sets the number of the first transition, in an empty buffer; so the rows are the same as before a resume."""
        if len(self):
            raise ValueError("The replay buffer holds transitions.")
        self._origin = self._num_added = number

    def unpacked(self, arrays: Mapping[str, np.ndarray]) -> accumulator.Transitions:
        """Returns the columns of the result of `packed`.

        Raises:
          KeyError, ValueError: it is no such result, or of another environment.
        """
        columns = self._storage._make(arrays[name] for name in self._storage._fields)
        for name, column, stored in zip(columns._fields, columns, self._storage, strict=True):
            if (column.dtype, column.shape) != (stored.dtype, (len(columns.r_t), *stored.shape[1:])):
                raise ValueError(f"{name} is {column.dtype}{list(column.shape)}")
            if not np.isfinite(column).all():
                raise ValueError(f"{name} is not finite")
        if ((columns.discount_t < 0) | (columns.discount_t > 1)).any():
            raise ValueError("discount_t is not from 0 to 1")
        return columns

    def add_packed(self, arrays: Mapping[str, np.ndarray], rows: slice) -> None:
        """Adds `rows` of a result of `packed`. Raises as `unpacked` does."""
        self.add(self._storage._make(column[rows] for column in self.unpacked(arrays)))

    def clear(self) -> None:
        """Forgets all transitions."""
        self._origin = self._num_added = 0
        self._sampler.clear()

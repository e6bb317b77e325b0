"""Planes of images, told apart: each gets a number when it is first seen, and equal ones have the same number."""

import functools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from dqn_tf.environment import spec


class Layout(NamedTuple):
    """How the planes lie in an observation: a stack of C along spec.stack_axis, or a single one.

    Attributes:
      shape, dtype: of an observation.
      stack_shape, stack_axis: the shape with its stack axis, of length 1 if it has none.
      plane_shape: of a plane.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    stack_shape: tuple[int, ...]
    stack_axis: int
    plane_shape: tuple[int, ...]

    @property
    def num_planes(self) -> int:
        """C."""
        return self.stack_shape[self.stack_axis]

    @property
    def nbytes(self) -> int:
        """Bytes of a plane."""
        return math.prod(self.plane_shape) * self.dtype.itemsize

    @property
    def num_words(self) -> int:
        """W, the words of 8 bytes that hold a plane."""
        return -(-self.nbytes // 8)

    def words(self, observations: np.ndarray) -> np.ndarray:
        """Returns the planes of observations [M, *obs] as words <uint64>[M, C, W], filled up with zeros.

        They may be a view. Raises TypeError: the observations are of another kind of dtype.
        """
        stacks = np.moveaxis(observations.reshape(-1, *self.stack_shape), 1 + self.stack_axis, 1)
        if stacks.dtype == self.dtype and stacks.flags.c_contiguous and self.nbytes == 8 * self.num_words:
            return stacks.reshape(*stacks.shape[:2], -1).view(np.uint64)
        return self.plane_words(stacks)

    def plane_words(self, planes: np.ndarray) -> np.ndarray:
        """Returns a copy of planes [..., *plane] as words <uint64>[..., W]. Raises TypeError as `words`."""
        leading = planes.shape[: planes.ndim - len(self.plane_shape)]
        words = np.zeros((*leading, self.num_words), np.uint64)
        np.copyto(self.planes(words), planes)
        return words

    def planes(self, words: np.ndarray) -> np.ndarray:
        """Returns words <uint64>[..., W] as [..., *plane], where possible in the same memory."""
        flat = words.view(np.uint8)[..., : self.nbytes].view(self.dtype)
        return flat.reshape(*words.shape[:-1], *self.plane_shape)

    def observations(self, planes: np.ndarray) -> np.ndarray:
        """Returns observations [M, *obs] of their planes [M, C, *plane]."""
        return np.ascontiguousarray(np.moveaxis(planes, 1, 1 + self.stack_axis)).reshape(-1, *self.shape)


def layout(shape: Sequence[int], dtype: np.typing.DTypeLike) -> Layout:
    """Returns the Layout of observations of this shape and dtype."""
    shape, axis = tuple(shape), spec.stack_axis(shape)
    stack_shape, axis = ((1, *shape), 0) if axis is None else (shape, axis)
    return Layout(shape, np.dtype(dtype), stack_shape, axis, stack_shape[:axis] + stack_shape[axis + 1 :])


class Planes:
    """Numbers planes as environments show them, and keeps those that are still needed.

    An environment that stacks its images shows most planes again, one place further: these are compared with the planes
    that were there before, as are those of images that stay as they are. Of others a fingerprint tells which plane to
    compare with. So nothing is assumed about how an environment stacks, pads and resets: planes have the same number
    only if all their bytes are equal.
    """

    def __init__(self, layout: Layout):
        """Knows no plane yet."""
        self._layout = layout
        self._kept: dict[int, tuple[int, np.ndarray]] = {}  # fingerprint and words [W] by number
        self._by_fingerprint: dict[int, int] = {}
        self._num_seen = 0
        self._last: tuple[np.ndarray, np.ndarray] | None = None  # words and numbers of the last observations

    def number(self, observations: np.ndarray) -> np.ndarray:
        """Returns the numbers <int64>[N, C] of the planes of observations [N, *obs], a step after those before.

        The observations must not be changed before the next call.
        """
        words = self._layout.words(observations)
        numbers = np.full(words.shape[:2], -1)
        if self._last is not None and len(self._last[0]) == len(words):
            before, known = self._last
            is_moved = (words[:, :-1] == before[:, 1:]).all(axis=2)  # [N, C - 1]
            numbers[:, :-1][is_moved] = known[:, 1:][is_moved]
            others = np.flatnonzero(~is_moved.all(axis=1) | (words.shape[1] == 1))
            is_still = (words[others] == before[others]).all(axis=2)
            numbers[others] = np.where(is_still, known[others], numbers[others])
        is_other = numbers < 0
        numbers[is_other] = self._told_apart(words[is_other])
        self._last = words, numbers
        return numbers

    def content(self, numbers: Sequence[int]) -> tuple[np.ndarray, list[int]]:
        """Returns the words <uint64>[P, W] and the fingerprints of P planes that are kept."""
        kept = [self._kept[number] for number in numbers]
        words = np.array([plane for _, plane in kept], np.uint64).reshape(len(kept), self._layout.num_words)
        return words, [fingerprint for fingerprint, _ in kept]

    def keep(self, *needed: np.ndarray) -> Iterable[int]:
        """Forgets all planes but those of these numbers, and those of the last observations; returns their numbers."""
        last = [] if self._last is None else [self._last[1]]
        numbers = np.unique(np.concatenate([one.ravel() for one in (*needed, *last)])) if needed or last else ()
        self._kept = {number: self._kept[number] for number in map(int, numbers)}
        self._by_fingerprint = {fingerprint: number for number, (fingerprint, _) in self._kept.items()}
        return self._kept

    def _told_apart(self, words):
        """Returns the numbers <int64>[P] of planes <uint64>[P, W], the same for equal ones, and keeps new ones."""
        own, keys, place = distinct(words)
        numbers = []
        for key, plane in zip(keys, own, strict=True):
            number = self._by_fingerprint.get(key)
            if number is None or not np.array_equal(self._kept[number][1], plane):
                number, self._num_seen = self._num_seen, self._num_seen + 1
                self._kept[number], self._by_fingerprint[key] = (key, plane), number
            numbers.append(number)
        return np.array(numbers, np.int64)[place]


def fingerprints(words: np.ndarray) -> np.ndarray:
    """Returns <uint64>[P], equal for equal rows of words <uint64>[P, W], and nearly always different for others."""
    folded = words ^ (words >> 29)  # products modulo 2^64 lose what differs in high bits only
    return np.einsum("pw,w->p", folded, _multipliers(words.shape[1]))


@functools.cache
def _multipliers(num_words):
    return np.random.default_rng(0).integers(1 << 64, size=num_words, dtype=np.uint64)


def distinct(words: np.ndarray) -> tuple[np.ndarray, list[int], np.ndarray]:
    """Returns the rows of words <uint64>[P, W] that differ, [U, W] in their order, their fingerprints, and for each
    row its place among them, <int>[P]. If all differ, they are `words` itself.

    A row whose fingerprint is by accident that of another, earlier one is there each time that it comes.
    """
    fingerprint = fingerprints(words)
    _, first, inverse = np.unique(fingerprint, return_index=True, return_inverse=True)
    if len(first) == len(words):
        return words, fingerprint.tolist(), np.arange(len(words))
    leader = first[inverse]
    is_own = (leader == np.arange(len(words))) | (words[leader] != words).any(axis=1)
    place = np.cumsum(is_own) - 1
    return words[is_own], fingerprint[is_own].tolist(), np.where(is_own, place, place[leader])

"""Ring buffer of transitions of images that stores each image once."""

import math
import sys
from collections.abc import Callable, Mapping

import numpy as np

from dqn_tf.environment import spec
from dqn_tf.experience import accumulator, replay, sampling
from dqn_tf.experience.frames import Frames, HostFrames

_WINDOW = 1 << 14  # frames remembered at least: more than (n_step + stack size) * environments
CHUNK_NBYTES = 1 << 20  # of observations added at a time: about the cache of a core


def create(
    capacity: int,
    observation_shape: tuple[int, ...],
    observation_dtype: np.typing.DTypeLike,
    generator: np.random.Generator,
    sampler: sampling.Uniform | None = None,
    mask_nbytes: int = 0,
) -> replay.Replay:
    """Returns an empty buffer of the `kind` for the observations. See Replay."""
    made = kind(observation_shape, observation_dtype)
    return made(capacity, observation_shape, observation_dtype, generator, sampler, mask_nbytes)


def kind(observation_shape: tuple[int, ...], observation_dtype: np.typing.DTypeLike) -> type[replay.Replay]:
    """Returns FrameReplay for images, which are uint8 observations of two or more axes, else Replay."""
    is_image = np.dtype(observation_dtype) == np.uint8 and len(observation_shape) >= 2
    return FrameReplay if is_image else replay.Replay


def expected_slots(capacity: int, num_held: int) -> int:
    """Returns the slots that a buffer comes to ask for, if each env step brings one new plane. See expected_nbytes.

    What is added at a time needs up to CHUNK_NBYTES more.

    Args:
      num_held: how many transitions of its capacity it comes to hold.
    """
    return num_held + _growth(num_held) + 2 * _growth(capacity)


def frame_nbytes(observation_shape: tuple[int, ...], observation_dtype: np.typing.DTypeLike) -> int:
    """Returns the bytes of one frame: those of a plane, filled up to whole words."""
    stack_shape, axis = _stack(tuple(observation_shape))
    return 8 * _num_words(stack_shape[:axis] + stack_shape[axis + 1 :], observation_dtype)


class FrameReplay(replay.Replay):
    """Does the same as Replay, to the byte, in less memory.

    An observation is a stack of C planes along spec.stack_axis, or a single plane. Each distinct plane is stored once,
    as a frame, and a transition has the numbers of its 2 * C frames.

    Planes share a frame only if all their bytes are equal. So nothing is assumed about how an environment stacks, pads
    and resets, nor about the order of transitions. A fingerprint tells which frame to compare with; if two planes have
    the same one, or it is forgotten, a frame is stored twice.
    """

    def __init__(
        self,
        capacity: int,
        observation_shape: tuple[int, ...],
        observation_dtype: np.typing.DTypeLike,
        generator: np.random.Generator,
        sampler: sampling.Uniform | None = None,
        mask_nbytes: int = 0,
        make_frames: Callable[[int], Frames] = HostFrames,
    ):
        """See Replay.

        Args:
          make_frames: makes an empty store of frames of so many words.
        """
        self._shape = tuple(observation_shape)
        self._dtype = np.dtype(observation_dtype)
        self._stack_shape, self._stack_axis = _stack(self._shape)
        self._plane_shape = self._stack_shape[: self._stack_axis] + self._stack_shape[self._stack_axis + 1 :]
        num_planes, num_words = self._stack_shape[self._stack_axis], _num_words(self._plane_shape, self._dtype)
        # Slots instead of observations.
        super().__init__(capacity, (num_planes,), np.int32, generator, sampler, mask_nbytes)
        self._multipliers = np.random.default_rng(0).integers(1 << 64, size=num_words, dtype=np.uint64)
        self._frames = make_frames(num_words)
        self.clear()

        num_rows = min(max(CHUNK_NBYTES // (2 * num_planes * num_words * 8), 1), capacity)
        self._chunk = np.zeros((num_rows, 2, num_planes, num_words), np.uint64)  # s_tm1 and s_t of rows to be added

    def clear(self) -> None:
        """Forgets all transitions."""
        super().clear()
        # For each slot how often the rows name it; and a stack of the slots that no row names.
        self._frames.clear()
        self._use_count = np.empty(0, np.int32)
        self._free = np.empty(0, np.int32)
        self._num_free = 0
        # Slots by fingerprint; a slot may have another plane by now. Two generations, so that the older can be dropped.
        self._recent, self._older = {}, {}

    @property
    def num_frames(self) -> int:
        """Number of planes held."""
        return len(self._use_count) - self._num_free

    @property
    def nbytes(self) -> int:
        """Bytes held now. They grow with the number of frames, in steps of 1 % of the capacity."""
        arrays = (self._use_count, self._free, self._chunk)
        fingerprints = sum(sys.getsizeof(slots) + 80 * len(slots) for slots in (self._recent, self._older))
        return super().nbytes + self._frames.nbytes + sum(array.nbytes for array in arrays) + fingerprints

    @staticmethod
    def expected_nbytes(
        capacity: int, observation_shape: tuple[int, ...], observation_dtype: np.typing.DTypeLike, mask_nbytes: int = 0
    ) -> int:
        """Returns the expected bytes of a full buffer if each env step brings one new plane.

        One percent is added for the last observations of episodes. If all planes of a stack change in a step, the
        buffer needs up to C times as much.
        """
        stack_shape, axis = _stack(tuple(observation_shape))
        slot_nbytes = frame_nbytes(observation_shape, observation_dtype) + 4 + 4
        rows_nbytes = replay.Replay.expected_nbytes(capacity, (stack_shape[axis],), np.int32, mask_nbytes)
        return rows_nbytes + (capacity + _growth(capacity)) * slot_nbytes

    def add(self, transitions: accumulator.Transitions) -> None:
        """See Replay. Also raises MemoryError: there is no memory for more frames."""
        num_rows = len(self._chunk)
        for start in range(0, len(transitions.r_t), num_rows):
            self._add(_part(transitions, slice(start, start + num_rows)))

    def sample(self, num_batches: int, batch_size: int, importance_exponent: float = 0.0) -> replay.Sample:
        """See Replay."""
        sample = super().sample(num_batches, batch_size, importance_exponent)
        slots = sample.transitions
        observations = dict(s_tm1=self._observations(slots.s_tm1), s_t=self._observations(slots.s_t))
        return sample._replace(transitions=slots._replace(**observations))

    def blank(self, num_batches: int, batch_size: int) -> replay.Sample:
        """See Replay."""
        blank = super().blank(num_batches, batch_size)
        observations = np.zeros((num_batches, batch_size, *self._shape), self._dtype)
        return blank._replace(transitions=blank.transitions._replace(s_tm1=observations, s_t=observations))

    def packed(self, first: int, end: int) -> dict[str, np.ndarray]:
        """See Replay. Columns of observations have numbers <int32>[end - first, C] of planes in the array `planes`."""
        arrays = super().packed(first, end)
        slots = np.stack((arrays["s_tm1"], arrays["s_t"]))
        used, number = np.unique(slots, return_inverse=True)
        arrays["s_tm1"], arrays["s_t"] = number.astype(np.int32).reshape(slots.shape)
        arrays["planes"] = self._planes(self._frames.take(used), used.shape)
        return arrays

    def add_packed(self, arrays: Mapping[str, np.ndarray], rows: slice) -> None:
        """Adds `rows` of what `packed` gave. Raises KeyError or ValueError if it is not that."""
        columns, planes = self.unpacked(arrays), arrays["planes"]
        if (planes.dtype, planes.shape[1:]) != (self._dtype, self._plane_shape):
            raise ValueError(f"planes is {planes.dtype}{list(planes.shape)}")
        for numbers in (columns.s_tm1, columns.s_t):
            if ((numbers < 0) | (numbers >= len(planes))).any():
                raise ValueError("a stack names a plane that is not there")
        columns = _part(columns, rows)
        for start in range(0, len(columns.r_t), len(self._chunk)):
            part = _part(columns, slice(start, start + len(self._chunk)))
            self._add(part._replace(s_tm1=self._stacks(planes[part.s_tm1]), s_t=self._stacks(planes[part.s_t])))

    def _stacks(self, planes):
        """Returns observations [M, *obs] of their planes [M, C, *plane]."""
        return np.ascontiguousarray(np.moveaxis(planes, 1, 1 + self._stack_axis)).reshape(-1, *self._shape)

    def _observations(self, slots):
        """Returns a copy [K, B, *obs] of what is in slots <int32>[K, B, C]."""
        planes = self._planes(self._frames.take(slots.ravel()), (-1, slots.shape[-1]))  # [K * B, C, *plane]
        return self._stacks(planes).reshape(*slots.shape[:2], *self._shape)

    def _planes(self, words, leading_shape):
        """Returns words <uint64>[..., W] as [*leading_shape, *plane], where possible in the same memory."""
        nbytes = num_bytes(self._plane_shape, self._dtype)
        return words.view(np.uint8)[..., :nbytes].view(self._dtype).reshape(*leading_shape, *self._plane_shape)

    def _add(self, transitions):
        """Adds up to len(self._chunk) transitions."""
        num_new = len(transitions.r_t)
        words = self._words(transitions)  # [P, W] of P = num_new * 2 * C planes
        fingerprint = _fingerprints(words, self._multipliers)
        leader = _leaders(words, fingerprint)
        leaders = np.flatnonzero(leader == np.arange(len(leader)))  # [U] the planes that differ
        keys = fingerprint[leaders].tolist()
        slot, is_known = self._find(keys, words[leaders])
        num_fresh = np.count_nonzero(~is_known)
        self._reserve(num_fresh)
        slot[~is_known] = self._free[self._num_free - num_fresh : self._num_free]
        self._frames.put(slot[~is_known], words[leaders[~is_known]])

        slots = np.empty(len(leader), np.int32)
        slots[leaders] = slot
        slots = slots[leader].reshape(self._chunk[:num_new].shape[:-1])  # [M, 2, C]
        lost = self.overwritten(num_new)
        super().add(transitions._replace(s_tm1=slots[:, 0], s_t=slots[:, 1]))
        self._num_free -= num_fresh
        np.add.at(self._use_count, slots.ravel(), 1)
        self._release(np.concatenate((lost.s_tm1.ravel(), lost.s_t.ravel())))
        self._remember(keys, slot)

    def _words(self, transitions):
        """Returns the planes of transitions as words <uint64>[P, W], filled up with zeros; kept until the next call."""
        chunk = self._chunk[: len(transitions.r_t)]
        planes = self._planes(chunk, chunk.shape[:-1])  # [M, 2, C, *plane]
        for i, observations in enumerate((transitions.s_tm1, transitions.s_t)):
            stacks = observations.reshape(-1, *self._stack_shape)
            np.copyto(planes[:, i], np.moveaxis(stacks, 1 + self._stack_axis, 1))
        return chunk.reshape(-1, chunk.shape[-1])

    def _find(self, keys, words):
        """Returns a slot for each of U planes, <int32>[U], and whether the plane is in there, <bool>[U]."""
        slot = np.array([self._recent.get(key, self._older.get(key, -1)) for key in keys], np.int32)
        found = np.flatnonzero(slot >= 0)
        found = found[self._use_count[slot[found]] > 0]  # else it may be given to another plane
        found = found[(self._frames.take(slot[found]) == words[found]).all(axis=1)]
        is_known = np.zeros(len(slot), bool)
        is_known[found] = True
        return slot, is_known

    def _remember(self, keys, slot):
        """Notes the slots of the U planes with these fingerprints."""
        self._recent.update(zip(keys, slot.tolist(), strict=True))
        if len(self._recent) >= _WINDOW:
            self._older, self._recent = self._recent, {}

    def _reserve(self, num_frames):
        """Makes room for that many frames."""
        num_missing = num_frames - self._num_free
        if num_missing <= 0:
            return
        num_more = max(num_missing, _growth(self._capacity))
        num_slots = len(self._use_count) + num_more
        try:
            self._frames.grow(num_slots)
            for array in (self._free, self._use_count):
                array.resize(num_slots, refcheck=False)  # no view of them outlives a call
        except MemoryError:
            size = f"{num_slots} frames of {8 * len(self._multipliers)} bytes"
            raise MemoryError(f"The replay buffer holds {len(self)} transitions and cannot grow to {size}.") from None
        self._free[self._num_free : self._num_free + num_more] = np.arange(num_slots - num_more, num_slots)
        self._num_free += num_more

    def _release(self, slots):
        """Takes one use from each slot named, and frees those without any left."""
        np.subtract.at(self._use_count, slots, 1)
        unused = np.unique(slots[self._use_count[slots] == 0])
        self._free[self._num_free : self._num_free + len(unused)] = unused
        self._num_free += len(unused)


def _part(transitions, rows):
    return transitions._make(column[rows] for column in transitions)


def _stack(shape):
    """Returns the shape of an observation with its stack axis, of length 1 if it has none, and that axis."""
    axis = spec.stack_axis(shape)
    return ((1, *shape), 0) if axis is None else (shape, axis)


def num_bytes(plane_shape: tuple[int, ...], dtype: np.typing.DTypeLike) -> int:
    """Returns the bytes of a plane."""
    return math.prod(plane_shape) * np.dtype(dtype).itemsize


def _num_words(plane_shape, dtype):
    return -(-num_bytes(plane_shape, dtype) // 8)


def _growth(capacity):
    return -(-capacity // 100)


def _fingerprints(words, multipliers):
    """Returns <uint64>[P], equal for equal rows of words <uint64>[P, W], and nearly always different for others."""
    folded = words ^ (words >> 29)  # products modulo 2^64 lose what differs in high bits only
    return np.einsum("pw,w->p", folded, multipliers)


def _leaders(words, fingerprint):
    """Returns, for each row of words [P, W], a row of the same content, <int>[P]: the first with its fingerprint.

    Where that one differs, by an accident of the fingerprint, it is the row itself.
    """
    _, first, inverse = np.unique(fingerprint, return_index=True, return_inverse=True)
    leader = first[inverse]
    return np.where((words[leader] == words).all(axis=1), leader, np.arange(len(words)))

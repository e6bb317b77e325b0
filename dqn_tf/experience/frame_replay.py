"""Ring buffer of transitions of images that stores each image once."""

import sys
from collections.abc import Callable, Mapping

import numpy as np

from dqn_tf.experience import accumulator, planes, replay, sampling
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
    return 8 * planes.layout(observation_shape, observation_dtype).num_words


class FrameReplay(replay.Replay):
    """Does the same as Replay, to the byte, in less memory.

    An observation is a stack of C planes along spec.stack_axis, or a single plane. Each distinct plane is stored once,
    as a frame, and a transition has the numbers of its 2 * C frames.

    Planes share a frame only if all their bytes are equal. So nothing is assumed about how an environment stacks, pads
    and resets, nor about the order of transitions. A fingerprint tells which frame to compare with; if two planes have
    the same one, or it is forgotten, a frame is stored twice.

    Planes that `noted` has told apart, while the learner was busy, have numbers: of these only new ones are looked at.
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
        self._layout = planes.layout(observation_shape, observation_dtype)
        # Slots instead of observations.
        super().__init__(capacity, (self._layout.num_planes,), np.int32, generator, sampler, mask_nbytes)
        self._planes = planes.Planes(self._layout)
        self._frames = make_frames(self._layout.num_words)
        self.clear()

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
        # Slots of planes with numbers, and back.
        self._slot_of: dict[int, int] = {}
        self._number_in: dict[int, int] = {}

    @property
    def num_frames(self) -> int:
        """Number of planes held."""
        return len(self._use_count) - self._num_free

    @property
    def nbytes(self) -> int:
        """Bytes held now. They grow with the number of frames, in steps of 1 % of the capacity."""
        fingerprints = sum(sys.getsizeof(slots) + 80 * len(slots) for slots in (self._recent, self._older))
        return super().nbytes + self._frames.nbytes + self._use_count.nbytes + self._free.nbytes + fingerprints

    @staticmethod
    def expected_nbytes(
        capacity: int, observation_shape: tuple[int, ...], observation_dtype: np.typing.DTypeLike, mask_nbytes: int = 0
    ) -> int:
        """Returns the expected bytes of a full buffer if each env step brings one new plane.

        One percent is added for the last observations of episodes. If all planes of a stack change in a step, the
        buffer needs up to C times as much.
        """
        slot_nbytes = frame_nbytes(observation_shape, observation_dtype) + 4 + 4
        num_planes = planes.layout(observation_shape, observation_dtype).num_planes
        rows_nbytes = replay.Replay.expected_nbytes(capacity, (num_planes,), np.int32, mask_nbytes)
        return rows_nbytes + (capacity + _growth(capacity)) * slot_nbytes

    def noted(self, observations: np.ndarray) -> np.ndarray:
        """See Replay. They are numbers of planes <int64>[N, C]."""
        return self._planes.number(observations)

    def keep_noted(self, *needed: np.ndarray) -> None:
        """See Replay."""
        kept = self._planes.keep(*needed)
        self._slot_of = {number: self._slot_of[number] for number in kept if number in self._slot_of}
        self._number_in = {slot: number for number, slot in self._slot_of.items()}

    def add(self, transitions: accumulator.Transitions) -> None:
        """See Replay. Also raises MemoryError: there is no memory for more frames."""
        num_planes = self._layout.num_planes
        is_noted = transitions.s_tm1.dtype == np.int64 and transitions.s_tm1.shape[1:] == (num_planes,)
        num_rows = self._rows_at_once(1 if is_noted else num_planes)
        add = self._add_noted if is_noted else self._add
        for start in range(0, len(transitions.r_t), num_rows):
            add(_part(transitions, slice(start, start + num_rows)))

    def _rows_at_once(self, num_planes):
        """Returns how many transitions are added at a time, each of so many planes before and after its action."""
        return min(max(CHUNK_NBYTES // (16 * self._layout.num_words * num_planes), 1), self._capacity)

    def sample(self, num_batches: int, batch_size: int, importance_exponent: float = 0.0) -> replay.Sample:
        """See Replay."""
        sample = super().sample(num_batches, batch_size, importance_exponent)
        slots = sample.transitions
        observations = dict(s_tm1=self._observations(slots.s_tm1), s_t=self._observations(slots.s_t))
        return sample._replace(transitions=slots._replace(**observations))

    def blank(self, num_batches: int, batch_size: int) -> replay.Sample:
        """See Replay."""
        blank = super().blank(num_batches, batch_size)
        observations = np.zeros((num_batches, batch_size, *self._layout.shape), self._layout.dtype)
        return blank._replace(transitions=blank.transitions._replace(s_tm1=observations, s_t=observations))

    def packed(self, first: int, end: int) -> dict[str, np.ndarray]:
        """See Replay. Columns of observations have numbers <int32>[end - first, C] of planes in the array `planes`.

        They are counted in the order in which the rows name them, so that slots leave no trace.
        """
        arrays = super().packed(first, end)
        slots = np.stack((arrays["s_tm1"], arrays["s_t"]), axis=1)
        used, place, inverse = np.unique(slots, return_index=True, return_inverse=True)
        order = np.argsort(place)
        number = np.empty(len(used), np.int32)
        number[order] = np.arange(len(used))
        arrays["s_tm1"], arrays["s_t"] = np.moveaxis(number[inverse].reshape(slots.shape), 1, 0).copy()
        arrays["planes"] = self._layout.planes(self._frames.take(used[order]))
        return arrays

    def add_packed(self, arrays: Mapping[str, np.ndarray], rows: slice) -> None:
        """Adds `rows` of what `packed` gave. Raises KeyError or ValueError if it is not that."""
        columns, given = self.unpacked(arrays), arrays["planes"]
        if (given.dtype, given.shape[1:]) != (self._layout.dtype, self._layout.plane_shape):
            raise ValueError(f"planes is {given.dtype}{list(given.shape)}")
        for numbers in (columns.s_tm1, columns.s_t):
            if ((numbers < 0) | (numbers >= len(given))).any():
                raise ValueError("a stack names a plane that is not there")
        columns = _part(columns, rows)
        for start in range(0, len(columns.r_t), num_rows := self._rows_at_once(1)):
            part = _part(columns, slice(start, start + num_rows))
            used, inverse = np.unique(np.stack((part.s_tm1, part.s_t), axis=1), return_inverse=True)
            self._add_planes(part, self._layout.plane_words(given[used]), inverse)

    def _observations(self, slots):
        """Returns a copy [K, B, *obs] of what is in slots <int32>[K, B, C]."""
        words = self._frames.take(slots.ravel()).reshape(-1, slots.shape[-1], self._layout.num_words)  # [K * B, C, W]
        return self._layout.observations(self._layout.planes(words)).reshape(*slots.shape[:2], *self._layout.shape)

    def _add(self, transitions):
        """Adds some transitions of observations, at most as many as the capacity."""
        words = np.stack([self._layout.words(one) for one in (transitions.s_tm1, transitions.s_t)], axis=1)
        words = words.reshape(-1, words.shape[-1])  # [M * 2 * C, W]
        self._add_planes(transitions, words, np.arange(len(words)))

    def _add_planes(self, transitions, words, place):
        """Adds some transitions of planes <uint64>[P, W], of which they have those at `place`, <int>[M * 2 * C]."""
        own, keys, place_of_own = planes.distinct(words)
        slot, num_fresh = self._slots(own, keys)
        self._append(transitions, slot[place_of_own][place], num_fresh)

    def _add_noted(self, transitions):
        """Adds some transitions of planes with numbers, at most as many as the capacity."""
        numbers = np.stack((transitions.s_tm1, transitions.s_t), axis=1)  # [M, 2, C]
        used, inverse = np.unique(numbers, return_inverse=True)
        used = used.tolist()
        slot = np.array([self._slot_of.get(number, -1) for number in used], np.int32)
        new = np.flatnonzero(slot < 0)
        new_numbers = [used[i] for i in new]
        slot[new], num_fresh = self._slots(*self._planes.content(new_numbers))
        for number, one in zip(new_numbers, slot[new].tolist(), strict=True):
            self._slot_of.pop(self._number_in.get(one), None)  # the same plane under another number
            self._slot_of[number], self._number_in[one] = one, number
        self._append(transitions, slot[inverse], num_fresh)

    def _slots(self, words, keys):
        """Returns a slot of each of U planes that differ, <int32>[U], and how many of them are no longer free.

        Args:
          words: <uint64>[U, W].
          keys: their fingerprints.
        """
        slot, is_known = self._find(keys, words)
        num_fresh = np.count_nonzero(~is_known)
        self._reserve(num_fresh)
        slot[~is_known] = self._free[self._num_free - num_fresh : self._num_free]
        self._frames.put(slot[~is_known], words[~is_known])
        self._remember(keys, slot)
        return slot, num_fresh

    def _append(self, transitions, slots, num_fresh):
        """Adds rows of these slots, <int32>[M * 2 * C] or of that shape, and frees what the oldest alone have named."""
        slots, lost = slots.reshape(len(transitions.r_t), 2, -1), self.overwritten(len(transitions.r_t))
        super().add(transitions._replace(s_tm1=slots[:, 0], s_t=slots[:, 1]))
        self._num_free -= num_fresh
        np.add.at(self._use_count, slots.ravel(), 1)
        self._release(np.concatenate((lost.s_tm1.ravel(), lost.s_t.ravel())))

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
            size = f"{num_slots} frames of {8 * self._layout.num_words} bytes"
            raise MemoryError(f"The replay buffer holds {len(self)} transitions and cannot grow to {size}.") from None
        self._free[self._num_free : self._num_free + num_more] = np.arange(num_slots - num_more, num_slots)
        self._num_free += num_more

    def _release(self, slots):
        """Takes one use from each slot named, and frees those without any left."""
        np.subtract.at(self._use_count, slots, 1)
        unused = np.unique(slots[self._use_count[slots] == 0])
        self._free[self._num_free : self._num_free + len(unused)] = unused
        self._num_free += len(unused)
        for slot in unused.tolist():
            self._slot_of.pop(self._number_in.pop(slot, None), None)


def _part(transitions, rows):
    return transitions._make(column[rows] for column in transitions)


def _growth(capacity):
    return -(-capacity // 100)

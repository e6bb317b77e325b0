"""Where FrameReplay keeps its frames: rows of words, by slot."""

from typing import Protocol

import numpy as np


class Frames(Protocol):
    """Rows <uint64>[W], each in a slot, from 0."""

    @property
    def nbytes(self) -> int:
        """Bytes of this process's memory."""

    def clear(self) -> None:
        """Forgets all rows."""

    def grow(self, num_slots: int) -> None:
        """Makes room for so many slots, those that there are included. Raises MemoryError."""

    def put(self, slots: np.ndarray, words: np.ndarray) -> None:
        """Sets the rows of slots <int32>[N], which differ, to <uint64>[N, W]."""

    def take(self, slots: np.ndarray) -> np.ndarray:
        """Returns a copy <uint64>[N, W] of the rows of slots <int32>[N]."""


class HostFrames:
    """Frames in the memory of this process. See Frames."""

    def __init__(self, num_words: int):
        self._num_words = num_words
        self.clear()

    @property
    def nbytes(self) -> int:
        return self._words.nbytes

    def clear(self) -> None:
        self._words = np.empty((0, self._num_words), np.uint64)

    def grow(self, num_slots: int) -> None:
        # resize reallocates: on Linux the pages of a large array stay where they are, nothing is copied.
        self._words.resize((num_slots, self._num_words), refcheck=False)  # no view of it outlives a call

    def put(self, slots: np.ndarray, words: np.ndarray) -> None:
        self._words[slots] = words

    def take(self, slots: np.ndarray) -> np.ndarray:
        return self._words.take(slots, axis=0)

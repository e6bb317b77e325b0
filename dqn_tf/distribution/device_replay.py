"""A replay of images whose frames are in the memory of the devices that learn: a sample names them, an update gathers.

A batch that crosses the bus is then 8 numbers a transition, not 2 stacks of 28 kB. Each device of the process has all
frames, because a batch's rows may name any of them: each needs what one alone would, and new frames cross once to each.

Frames are float32 for TensorFlow, though nothing is computed of them: of integers its ResourceScatterUpdate on a GPU
copies the whole variable to the host and back. Slots are int64: with int32 its GPU kernels multiply slot and row in 32
bits, and frame 304,348 of 84 x 84 would be beside the buffer (resource_variable_ops.cc, scatter_functor_gpu.cu.h,
gather_functor_gpu.cu.h of TensorFlow 2.21).
"""

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from dqn_tf.experience import frame_replay, replay
from dqn_tf.experience.accumulator import Transitions

_GROWTH = 1.25  # of frames that are more than expected: each time the update is compiled again


class DeviceFrames:
    """Frames on devices, as the bytes of <float32>[slots, 2 * W]. See frames.Frames."""

    def __init__(self, num_words: int, devices: Sequence[str], num_slots: int):
        """Takes the memory. Raises MemoryError.

        Args:
          devices: their names; what is on the first is read back.
          num_slots: to begin with.
        """
        self._num_columns, self._num_slots = 2 * num_words, num_slots
        self.variables = []
        for device in devices:
            with tf.device(device), _out_of_memory():
                zeros = tf.zeros([num_slots, self._num_columns])
                self.variables.append(tf.Variable(zeros, trainable=False, shape=[None, self._num_columns]))

    @property
    def nbytes(self) -> int:
        return 0

    def clear(self) -> None:
        pass

    def grow(self, num_slots: int) -> None:
        if num_slots <= self._num_slots:  # to ask the variable would copy it
            return
        more = max(num_slots, int(_GROWTH * self._num_slots)) - self._num_slots
        for variable in self.variables:
            with tf.device(variable.device), _out_of_memory():
                variable.assign(tf.concat([variable, tf.zeros([more, self._num_columns])], axis=0))
        self._num_slots += more

    def put(self, slots: np.ndarray, words: np.ndarray) -> None:
        rows, slots = words.view(np.float32), slots.astype(np.int64)
        for variable in self.variables:
            with tf.device(variable.device):
                tf.raw_ops.ResourceScatterUpdate(resource=variable.handle, indices=slots, updates=rows)

    def take(self, slots: np.ndarray) -> np.ndarray:
        return tf.gather(self.variables[0], slots.astype(np.int64)).numpy().view(np.uint64)


class DeviceReplay(frame_replay.FrameReplay):
    """Does the same as FrameReplay, but `sample` gives numbers of frames, of which `observed` makes observations.

    Its frames are DeviceFrames.
    """

    def sample(self, num_batches: int, batch_size: int, importance_exponent: float = 0.0) -> replay.Sample:
        """See Replay. s_tm1 and s_t are numbers of frames, <int32>[K, B, C]."""
        return replay.Replay.sample(self, num_batches, batch_size, importance_exponent)

    def blank(self, num_batches: int, batch_size: int) -> replay.Sample:
        """See Replay."""
        return replay.Replay.blank(self, num_batches, batch_size)

    def observed(self, transitions: Transitions, device: int) -> Transitions:
        """Returns transitions of a sample [b] with observations [b, *obs], gathered on a device. In a tf.function.

        Args:
          device: its number among the devices.
        """
        variable = self._frames.variables[device]
        stacks = {name: self._gathered(variable, getattr(transitions, name)) for name in ("s_tm1", "s_t")}
        return transitions._replace(**stacks)

    def _gathered(self, variable: tf.Variable, slots: Any) -> tf.Tensor:
        layout, rows = self._layout, tf.gather(variable, tf.cast(tf.reshape(slots, [-1]), tf.int64))
        rows = tf.reshape(tf.bitcast(rows, tf.uint8), [-1, 4 * rows.shape[1]])  # [b * C, 8 * W]
        if layout.nbytes != rows.shape[1]:
            rows = rows[:, : layout.nbytes]
        stacks = tf.reshape(rows, [-1, slots.shape[-1], *layout.plane_shape])
        if layout.stack_axis:
            order = list(range(2, len(stacks.shape)))
            order.insert(layout.stack_axis, 1)
            stacks = tf.transpose(stacks, [0, *order])
        return tf.reshape(stacks, [-1, *layout.shape])


@contextlib.contextmanager
def _out_of_memory():
    """Raises MemoryError instead of TensorFlow's error."""
    try:
        yield
    except tf.errors.ResourceExhaustedError:
        raise MemoryError("the device's memory is full") from None

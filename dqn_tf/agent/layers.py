"""Layers of Q-networks that Keras does not have."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

EPSILON = 1e-8  # added to a variance
CLIP = 10.0  # of normalized observations, as Stable-Baselines3's VecNormalize has it

_PACKAGE = "dqn_tf"
_FIRST_ITERATIONS = 30


@keras.saving.register_keras_serializable(_PACKAGE)
class ObservationNormalization(keras.layers.Layer):
    """(x - mean) / sqrt(variance), within +-CLIP. A run sets `mean` and `variance` <float32>[*obs]: see statistics.py.

    Frozen: the statistics are of all that was observed, not of a batch.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**{**kwargs, "trainable": False})

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.mean = self.add_weight(name="mean", shape=shape[1:], initializer="zeros", trainable=False)
        self.variance = self.add_weight(name="variance", shape=shape[1:], initializer="ones", trainable=False)

    def call(self, inputs: Any) -> Any:
        x = (ops.cast(inputs, "float32") - self.mean) * ops.rsqrt(self.variance + EPSILON)
        return ops.cast(ops.clip(x, -CLIP, CLIP), self.compute_dtype)


class _SavesAll:
    """Saves all variables of a layer: those of Keras save kernel and bias alone."""

    save_own_variables = keras.layers.Layer.save_own_variables
    load_own_variables = keras.layers.Layer.load_own_variables


@keras.saving.register_keras_serializable(_PACKAGE)
class NoisyDense(_SavesAll, keras.layers.Dense):
    """A dense layer with factorized Gaussian noise in training: w = mu + sigma * f(e_in) f(e_out).

    f(e) = sign(e) sqrt(|e|). All rows of a call share the noise. Source: Fortunato et al. 2018 (arXiv:1706.10295).
    """

    def __init__(self, units: int, sigma: float, seed: int = 0, **kwargs: Any):
        """See keras.layers.Dense.

        Args:
          sigma: initial noise, in 1 / sqrt(fan in).
          seed: of the noise in a model of its own; a run gives each update a seed.
        """
        super().__init__(units, **kwargs)
        self.sigma, self.seed = sigma, seed
        self.noise = keras.random.SeedGenerator(seed)

    def build(self, shape: tuple[int | None, ...]) -> None:
        super().build(shape)
        initializer = keras.initializers.Constant(self.sigma * shape[-1] ** -0.5)
        self.kernel_sigma = self.add_weight(
            name="kernel_sigma", shape=(shape[-1], self.units), initializer=initializer
        )
        self.bias_sigma = self.add_weight(name="bias_sigma", shape=(self.units,), initializer=initializer)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training:
            return super().call(inputs)
        rows, columns = (
            ops.cast(self._factor(size), self.compute_dtype) for size in (inputs.shape[-1], self.units)
        )
        x = ops.matmul(inputs, self.kernel) + self.bias
        x = x + ops.matmul(inputs * rows, self.kernel_sigma) * columns + self.bias_sigma * columns
        return self.activation(x)

    def drawn(self, row_seed: Any, column_seed: Any) -> tuple[Any, Any]:
        """Returns noise of the kernel and of the bias. Seeds are <int64>[2]."""
        seeds, sizes = (row_seed, column_seed), self.kernel.shape
        rows, columns = (_factor(tf.random.stateless_normal([n], one)) for n, one in zip(sizes, seeds, strict=True))
        return self.kernel_sigma * rows[:, None] * columns, self.bias_sigma * columns

    def _factor(self, size):
        return _factor(keras.random.normal((size,), dtype="float32", seed=self.noise))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "sigma": self.sigma, "seed": self.seed}


def _factor(e):
    return ops.sign(e) * ops.sqrt(ops.abs(e))


@keras.saving.register_keras_serializable(_PACKAGE)
class PatchConv2D(keras.layers.Conv2D):
    """A valid convolution with a stride of 1, as one product of all patches and the kernel.

    For small images: XLA compiles a product for a CPU well and a convolution badly.
    """

    def build(self, shape: tuple[int | None, ...]) -> None:
        plain = (1, 1), "valid", (1, 1), 1, "channels_last"
        if (self.strides, self.padding, self.dilation_rate, self.groups, self.data_format) != plain:
            raise ValueError("PatchConv2D is valid, channels last, with a stride of 1, no dilation and one group.")
        super().build(shape)

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """Returns the convolution of inputs [B, H, W, C] and a kernel [h, w, C, F], [B, H - h + 1, W - w + 1, F]."""
        height, width, channels, filters = kernel.shape
        rows, columns = inputs.shape[1] - height + 1, inputs.shape[2] - width + 1
        parts = [inputs[:, i : i + rows, j : j + columns] for i in range(height) for j in range(width)]
        patches = ops.reshape(ops.concatenate(parts, axis=-1), (-1, height * width * channels))
        x = ops.matmul(patches, ops.reshape(kernel, (-1, filters)))
        return ops.reshape(x, (-1, rows, columns, filters))


@keras.saving.register_keras_serializable(_PACKAGE)
class SpectralConv2D(_SavesAll, keras.layers.Conv2D):
    """A convolution whose kernel is divided by its largest singular value, by one power iteration a call in training.

    Source: Miyato et al. 2018 (arXiv:1802.05957).
    """

    def build(self, shape: tuple[int | None, ...]) -> None:
        super().build(shape)
        self.direction = self.add_weight(
            name="direction", shape=(self.filters,), initializer=self._first_direction, trainable=False
        )

    def _first_direction(self, shape, dtype):
        """Returns the first right singular vector of the initial kernel, so that calls have it from the beginning."""
        matrix = ops.reshape(ops.cast(self._kernel, "float32"), (-1, *shape))
        direction = ops.ones(shape) / shape[0] ** 0.5
        for _ in range(_FIRST_ITERATIONS):
            direction = _unit(ops.matmul(ops.matmul(matrix, direction), matrix))
        return ops.cast(direction, dtype)

    def call(self, inputs: Any, training: bool = False) -> Any:
        matrix = ops.reshape(ops.cast(self._kernel, "float32"), (-1, self.filters))
        fixed, right = ops.stop_gradient(matrix), _unit(ops.cast(self.direction, "float32"))
        left = _unit(ops.matmul(fixed, right))
        if training:
            right = _unit(ops.matmul(left, fixed))
            self.direction.assign(ops.stop_gradient(right))
        largest = ops.sum(left * ops.matmul(matrix, right))
        kernel = ops.cast(ops.cast(self._kernel, "float32") / largest, self.compute_dtype)
        x = self.convolution_op(inputs, kernel) + ops.cast(self.bias, self.compute_dtype)
        return self.activation(x)


def _unit(vector):
    return vector * ops.rsqrt(ops.sum(ops.square(vector)) + 1e-12)


@keras.saving.register_keras_serializable(_PACKAGE)
class Fractions(keras.layers.Layer):
    """Fractions tau <float32>[B, T] of implicit quantiles: random in training, evenly spaced as the network acts.

    Source: Dabney et al. 2018 (arXiv:1806.06923), where acting draws them too.
    """

    def __init__(self, num_training: int, num_acting: int, seed: int = 0, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_training, self.num_acting, self.seed = num_training, num_acting, seed
        self.random = keras.random.SeedGenerator(seed)

    def call(self, inputs: Any, training: bool = False) -> Any:
        size = ops.shape(inputs)[0]
        if training:
            return keras.random.uniform((size, self.num_training), dtype="float32", seed=self.random)
        return ops.tile(ops.convert_to_tensor(midpoints(self.num_acting))[None], (size, 1))

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return shape[0], None

    def get_config(self) -> dict[str, Any]:
        own = {"num_training": self.num_training, "num_acting": self.num_acting, "seed": self.seed}
        return {**super().get_config(), **own}


def midpoints(count: int) -> np.ndarray:
    """Returns <float32>[count], the middles of as many equal parts of [0, 1]."""
    return (np.arange(count, dtype=np.float32) + np.float32(0.5)) / np.float32(count)


@keras.saving.register_keras_serializable(_PACKAGE)
class Cosines(keras.layers.Layer):
    """cos(pi i tau) for i = 0 to N - 1: <float32>[B, T] to [B, T, N]. Source: arXiv:1806.06923, eq. 4."""

    def __init__(self, num_cosines: int = 64, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_cosines = num_cosines

    def call(self, inputs: Any) -> Any:
        frequencies = np.pi * np.arange(self.num_cosines, dtype=np.float32)
        return ops.cast(ops.cos(ops.cast(inputs, "float32")[..., None] * frequencies), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_cosines": self.num_cosines}

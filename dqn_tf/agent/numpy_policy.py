"""Small networks of networks.py in NumPy: a dense one takes 17 us where TensorFlow takes 250."""

import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from dqn_tf.config.schema import Config, Network
from dqn_tf.environment.spec import EnvironmentSpec, is_channels_first

_ACTIVATIONS = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0.0, out=x),
    "tanh": lambda x: np.tanh(x, out=x),
}
_LAYER_NORM_EPSILON = 1e-3  # Keras's
_STATISTICS_EPSILON, _CLIP = 1e-8, 10.0  # layers.py's, which needs TensorFlow
_NUM_COSINES = 64
MINATAR_UNITS = (128,)  # of the dense layer of a minatar_cnn

Array = np.ndarray
Layer = Callable[[Array], Array]


def create(spec: EnvironmentSpec, config: Config) -> "NumpyPolicy | None":
    """Returns the policy of an mlp or a minatar_cnn, None if its activation has no NumPy twin here."""
    return NumpyPolicy(spec, config.network) if config.network.activation in _ACTIVATIONS else None


class NumpyPolicy:
    """Values of such a network with any head, in NumPy. See policies.Policy."""

    def __init__(self, spec: EnvironmentSpec, network: Network):
        self._spec = spec
        self._network = network
        self._activation = _ACTIVATIONS[network.activation]
        self._critics: list[Layer] = []
        self._generator: np.random.Generator | None = None  # of noise, while there is some

    def load(self, weights: Sequence[Array]) -> None:
        given = iter(weights)
        self._critics = [self._critic(given) for _ in range(self._network.num_critics)]

    def values(self, observation: Array, noise_seed: int | None = None) -> Array:
        """See policies.Policy."""
        self._generator = None if noise_seed is None else np.random.default_rng(noise_seed)
        if len(self._critics) == 1:
            return self._critics[0](observation)
        return np.min([critic(observation) for critic in self._critics], axis=0)

    def _critic(self, weights: Iterator[Array]) -> Layer:
        """Returns a network from observations [N, *obs] to values [N, A], of its weights in Keras's order."""
        network, num_actions = self._network, self._spec.num_actions
        parts = [self._scaling(weights)]
        if network.network == "minatar_cnn":
            parts += [_channels_last(self._spec.observation_shape), *self._stream(weights, self._layer(self._conv))]
            torso_units, hidden_units = (), MINATAR_UNITS
        else:
            torso_units, hidden_units = network.hidden_units[:-1], network.hidden_units[-1:]
        parts.append(lambda x: x.reshape(len(x), -1))
        for _ in torso_units:
            parts += self._stream(weights, self._layer(self._dense))
        if network.head == "implicit_quantile":
            embedding = _chain(self._stream(weights, self._layer(self._dense)))(self._cosines())
            parts.append(lambda x: x[:, None] * embedding)
        dense = functools.partial(self._dense, is_noisy=network.noisy)
        last = [*(self._layer(dense) if hidden_units else []), dense]
        if network.dueling:
            # Keras has layers in order of their depth: the two streams take turns.
            turns = [(stage(weights), stage(weights)) for stage in last]
            value, advantage = map(_chain, zip(*turns, strict=True))
            parts.append(lambda x: _dueling(value(x), advantage(x), num_actions))
        else:
            parts += self._stream(weights, last)
        head = self._head()
        return _chain(parts + ([head] if head else []))

    def _stream(self, weights, stages):
        return [stage(weights) for stage in stages]

    def _scaling(self, weights):
        if not self._network.normalize_observations:
            scale = np.float32(self._spec.observation_scale)
            return lambda x: x * scale
        mean, variance = _next(weights), _next(weights)
        scale = 1.0 / np.sqrt(variance + np.float32(_STATISTICS_EPSILON))
        return lambda x: np.clip((x - mean) * scale, -_CLIP, _CLIP)

    def _layer(self, linear):
        """Returns the stages of a layer with an activation: functions from weights to what is done with them."""
        if self._network.normalization != "layer":
            return [lambda weights: _chain([linear(weights), self._activation])]
        return [linear, self._norm]

    def _norm(self, weights):
        gamma, beta = _next(weights), _next(weights)
        return lambda x: self._activation(_normalized(x) * gamma + beta)

    def _conv(self, weights):
        """Returns a valid convolution with a stride of 1, as the product that PatchConv2D is."""
        kernel, bias = _next(weights), _next(weights)
        height, width, _, filters = kernel.shape
        matrix = kernel.reshape(-1, filters)

        def conv(x):
            rows, columns = x.shape[1] - height + 1, x.shape[2] - width + 1
            parts = [x[:, i : i + rows, j : j + columns] for i in range(height) for j in range(width)]
            return np.concatenate(parts, axis=-1) @ matrix + bias

        return conv

    def _dense(self, weights, is_noisy=False):
        kernel, bias = _next(weights), _next(weights)
        if not is_noisy:
            return lambda x: x @ kernel + bias
        kernel_sigma, bias_sigma = _next(weights), _next(weights)

        def noisy(x):
            y = x @ kernel + bias
            if self._generator is None:
                return y
            rows, columns = map(self._factor, kernel.shape)
            return y + ((x * rows) @ kernel_sigma + bias_sigma) * columns

        return noisy

    def _factor(self, size):
        e = self._generator.standard_normal(size, np.float32)
        return np.sign(e) * np.sqrt(np.abs(e))

    def _cosines(self):
        count = self._network.num_policy_tau_samples
        fractions = (np.arange(count, dtype=np.float32) + np.float32(0.5)) / np.float32(count)
        return np.cos(fractions[:, None] * (np.pi * np.arange(_NUM_COSINES, dtype=np.float32))).astype(np.float32)

    def _head(self):
        """Returns what makes values [N, A] of outputs; None: they are values."""
        network, num_actions = self._network, self._spec.num_actions
        if network.head == "expected":
            return (lambda x: x[..., 0]) if network.dueling else None
        if network.head == "implicit_quantile":  # [N, T, A] or, of dueling streams, [N, T, A, 1]
            return lambda x: x.reshape(*x.shape[:2], num_actions).mean(axis=1)
        if network.head == "quantile":
            return lambda x: x.reshape(len(x), num_actions, -1).mean(axis=-1)
        atoms = np.linspace(network.v_min, network.v_max, network.num_atoms, dtype=np.float32)

        def expected(x):
            x = x.reshape(len(x), num_actions, -1)
            p = np.exp(x - x.max(axis=-1, keepdims=True))
            return (p @ atoms) / p.sum(axis=-1)

        return expected


def _next(weights):
    for one in weights:
        return one
    raise ValueError("The list of weights is shorter than the network's.")


def _channels_last(shape):
    """Returns what torsos.py does to images of this shape."""
    if len(shape) == 2:
        return lambda x: x[..., None]
    return (lambda x: np.moveaxis(x, 1, -1)) if is_channels_first(shape) else (lambda x: x)


def _chain(parts):
    if len(parts) == 1:
        return parts[0]

    def chain(x):
        for part in parts:
            x = part(x)
        return x

    return chain


def _normalized(x):
    x = x - x.mean(axis=-1, keepdims=True)
    return x / np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + np.float32(_LAYER_NORM_EPSILON))


def _dueling(value, advantage, num_actions):
    advantage = advantage.reshape(*advantage.shape[:-1], num_actions, -1)
    return value[..., None, :] + advantage - advantage.mean(axis=-2, keepdims=True)

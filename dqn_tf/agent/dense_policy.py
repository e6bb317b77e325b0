"""A network of dense layers in NumPy, as networks.py builds it: a small one takes 17 us where TensorFlow takes 250."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from dqn_tf.config.schema import Config, Network
from dqn_tf.environment.spec import EnvironmentSpec

_ACTIVATIONS = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0.0, out=x),
    "tanh": lambda x: np.tanh(x, out=x),
}
_LAYER_NORM_EPSILON = 1e-3  # Keras's
_STATISTICS_EPSILON, _CLIP = 1e-8, 10.0  # layers.py's, which needs TensorFlow
_NUM_COSINES = 64

Array = np.ndarray
Layer = Callable[[Array], Array]


def create(spec: EnvironmentSpec, config: Config) -> "DensePolicy | None":
    """Returns the policy of an mlp network, None if its activation has no NumPy twin here."""
    return DensePolicy(spec, config.network) if config.network.activation in _ACTIVATIONS else None


class DensePolicy:
    """Values of an mlp network with any head, in NumPy. See policies.Policy."""

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
        x = observation.reshape(len(observation), -1)
        if len(self._critics) == 1:
            return self._critics[0](x)
        return np.min([critic(x) for critic in self._critics], axis=0)

    def _critic(self, weights: Iterator[Array]) -> Layer:
        """Returns a network from observations [N, D] to values [N, A], of its weights in Keras's order."""
        network, num_actions = self._network, self._spec.num_actions
        parts = [self._scaling(weights)]
        for _ in network.hidden_units[:-1]:
            parts += self._stream(weights, self._hidden())
        if network.head == "implicit_quantile":
            embedding = _chain(self._stream(weights, self._hidden()))(self._cosines())
            parts.append(lambda x: x[:, None] * embedding)
        last = self._hidden(network.noisy) if network.hidden_units else []
        last = [*last, lambda given: self._dense(given, network.noisy)]
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
        mean, variance = (_next(weights).reshape(-1) for _ in range(2))
        scale = 1.0 / np.sqrt(variance + np.float32(_STATISTICS_EPSILON))
        return lambda x: np.clip((x - mean) * scale, -_CLIP, _CLIP)

    def _hidden(self, is_noisy=False):
        """Returns the stages of a hidden layer: functions from weights to what is done with them."""
        if self._network.normalization != "layer":
            return [lambda weights: _chain([self._dense(weights, is_noisy), self._activation])]
        return [lambda weights: self._dense(weights, is_noisy), self._norm]

    def _norm(self, weights):
        gamma, beta = _next(weights), _next(weights)
        return lambda x: self._activation(_normalized(x) * gamma + beta)

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

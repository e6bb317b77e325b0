"""Torsos of Q-networks: what is before the head. Each makes features of a scaled observation, and says what follows.

A torso is a function of (x, layers, settings of the network) that returns Features.
"""

from typing import Any, NamedTuple

import keras

from dqn_tf.agent.building import Layers
from dqn_tf.agent.layers import PatchConv2D, SpectralConv2D
from dqn_tf.agent.numpy_policy import MINATAR_UNITS
from dqn_tf.config.schema import ConfigError, Network
from dqn_tf.environment.spec import is_channels_first

_LAYOUT = {"data_format": "channels_last"}  # whatever a keras.json says


class Features(NamedTuple):
    """What a torso makes.

    Attributes:
      x: [B, N]
      hidden_units: of the dense layers between x and the outputs.
      num_hidden: number of hidden dense layers before x.
    """

    x: Any
    hidden_units: tuple[int, ...]
    num_hidden: int = 0


def mlp(x: Any, layers: Layers, network: Network) -> Features:
    """Dense layers of --hidden_units over the flattened observation. The last one is the head's."""
    x = layers.flat(x)
    for i, units in enumerate(network.hidden_units[:-1]):
        x = layers.dense(x, units, f"hidden{i}", i)
    return Features(x, network.hidden_units[-1:], len(network.hidden_units[:-1]))


def nature_cnn(x: Any, layers: Layers, network: Network) -> Features:
    """The convolutions of Mnih et al. 2015 (doi:10.1038/nature14236), extended data table 1."""
    x = _channels_last(x, layers)
    for i, (filters, size, stride) in enumerate(((32, 8, 4), (64, 4, 2), (64, 3, 1))):
        x = layers.conv(x, filters, size, f"conv{i}", 100 + i, strides=stride)
    return Features(layers.flat(x), (512,))


def minatar_cnn(x: Any, layers: Layers, network: Network) -> Features:
    """One convolution, for images of 10 x 10. Source: Young & Tian 2019 (arXiv:1903.03176)."""
    x = layers.conv(_channels_last(x, layers), 16, 3, "conv0", 100, kind=PatchConv2D)
    return Features(layers.flat(x), MINATAR_UNITS)


def impala_cnn(x: Any, layers: Layers, network: Network) -> Features:
    """Three stacks of a convolution, a pooling and two residual blocks, --width times 16, 32 and 32 channels.

    Source: Espeholt et al. 2018 (arXiv:1802.01561), figure 3; width, pooling, spectral norm and 512 hidden units as
    Clark et al. 2025 have them (arXiv:2411.03820).
    """
    x, number = _channels_last(x, layers), 100
    for i, filters in enumerate((16, 32, 32)):
        filters *= network.width
        x = layers.conv(x, filters, 3, f"conv{i}", number, padding="same", is_activated=False)
        x = keras.layers.MaxPooling2D(3, 2, "same", dtype=layers.dtype, name=f"pool{i}", **_LAYOUT)(x)
        for j in range(2):
            number += 2
            residual = x
            for k in range(2):
                name = f"block{i}{j}{k}"
                residual = layers.activation(residual, f"{name}_activation")
                kind = SpectralConv2D if network.spectral_norm else keras.layers.Conv2D
                how = {"padding": "same", "is_activated": False, "kind": kind}
                residual = layers.conv(residual, filters, 3, name, number - k, **how)
            x = keras.layers.Add(dtype=layers.dtype, name=f"block{i}{j}")([x, residual])
        number += 1
    x = layers.activation(x, "activation")
    if network.pooling > min(x.shape[1:3]):
        sizes = " x ".join(map(str, x.shape[1:3]))
        raise ConfigError(f"--pooling={network.pooling}: impala_cnn makes {sizes} of these images; use less.")
    if network.pooling:
        pooling = keras.layers.AdaptiveMaxPooling2D(network.pooling, dtype=layers.dtype, name="pooling", **_LAYOUT)
        x = pooling(x)
    return Features(layers.flat(x), (512,))


def _channels_last(x, layers):
    """Returns images [B, H, W, C]: CPU convolutions know only this layout."""
    shape = tuple(x.shape[1:])
    if len(shape) == 2:
        return keras.layers.Reshape((*shape, 1), dtype=layers.dtype, name="add_channel")(x)
    if is_channels_first(shape):
        return keras.layers.Permute((2, 3, 1), dtype=layers.dtype, name="channels_last")(x)
    return x

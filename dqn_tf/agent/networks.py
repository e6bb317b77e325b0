"""Keras Q-networks: observations of one environment in, a value for each action out."""

import keras
import numpy as np

from dqn_tf.agent import architecture


def build(
    kind: str,
    observation_shape: tuple[int, ...],
    observation_dtype: np.dtype,
    num_actions: int,
    *,
    observation_scale: float = 1.0,
    hidden_units: tuple[int, ...] = (128, 128),
    activation: str = "relu",
    precision: str = "float32",
    seed: int = 0,
    name: str = "q_network",
) -> keras.Model:
    """Returns a Q-network, inputs [B, *observation_shape] of `observation_dtype`, outputs <float32>[B, A].

    Args:
      kind: mlp (dense layers of `hidden_units` over the flattened observation) or nature_cnn.
      observation_scale: observations are multiplied by it inside the model, 1/255 for images.
      precision: float32, or bfloat16 arithmetic with float32 weights and outputs.
      seed: weights are a function of it alone.
    Weights and biases start uniform in +-1/sqrt(fan in), as Torch had them in the original DQN.
    Source: Mnih et al. 2015 (doi:10.1038/nature14236), extended data table 1.
    """
    policy = "mixed_bfloat16" if precision == "bfloat16" else "float32"
    inputs = keras.Input(observation_shape, dtype=np.dtype(observation_dtype).name, name="observation")
    x = keras.layers.Rescaling(observation_scale, dtype=policy, name="scale")(inputs)
    common = {"activation": activation, "dtype": policy}
    if kind == "nature_cnn":
        x = _channels_last(x, observation_shape, policy)
        for i, (filters, size, stride) in enumerate(((32, 8, 4), (64, 4, 2), (64, 3, 1))):
            initial = _initializers(size * size * x.shape[-1], seed, 100 + i)
            x = keras.layers.Conv2D(filters, size, stride, name=f"conv{i}", **initial, **common)(x)
        hidden_units = (512,)
    if len(x.shape) > 2:
        x = keras.layers.Flatten(dtype=policy, name="flatten")(x)
    for i, units in enumerate(hidden_units):
        x = keras.layers.Dense(units, name=f"hidden{i}", **_initializers(x.shape[-1], seed, i), **common)(x)
    initial = _initializers(x.shape[-1], seed, 99)
    x = keras.layers.Dense(num_actions, dtype="float32", name="q_values", **initial)(x)
    return keras.Model(inputs, x, name=name)


def _channels_last(x, observation_shape, policy):
    if len(observation_shape) == 2:
        return keras.layers.Reshape((*observation_shape, 1), dtype=policy, name="add_channel")(x)
    if architecture.is_channels_first(observation_shape):
        # CPU convolutions know only this layout.
        return keras.layers.Permute((2, 3, 1), dtype=policy, name="channels_last")(x)
    return x


def _initializers(fan_in, seed, layer):
    limit = fan_in**-0.5
    kernel_seed, bias_seed = np.random.SeedSequence((seed, layer)).generate_state(2)
    return {
        "kernel_initializer": keras.initializers.RandomUniform(-limit, limit, seed=int(kernel_seed)),
        "bias_initializer": keras.initializers.RandomUniform(-limit, limit, seed=int(bias_seed)),
    }

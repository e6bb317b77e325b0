"""Keras Q-networks: observations in, action values out."""

import keras
import numpy as np

from dqn_tf.config.schema import Config
from dqn_tf.environment.spec import EnvironmentSpec, is_channels_first

NAME = "q_network"


def mlp(spec: EnvironmentSpec, config: Config) -> keras.Model:
    """Returns dense layers of --hidden_units over the flattened observation, outputs <float32>[B, A].

    Weights are a function of the seed alone. Weights and biases start uniform in +-1/sqrt(fan in), as Torch had them in
    the original DQN. With --precision=bfloat16 arithmetic is bfloat16, weights and outputs are float32.
    """
    inputs, x, common = _scaled(spec, config)
    return _dense(inputs, x, common, spec, config, config.network.hidden_units)


def nature_cnn(spec: EnvironmentSpec, config: Config) -> keras.Model:
    """Returns the convolutional network of Mnih et al. 2015 (doi:10.1038/nature14236), extended data table 1."""
    inputs, x, common = _scaled(spec, config)
    if len(spec.observation_shape) == 2:
        x = keras.layers.Reshape((*spec.observation_shape, 1), dtype=common["dtype"], name="add_channel")(x)
    elif is_channels_first(spec.observation_shape):
        # CPU convolutions know only this layout.
        x = keras.layers.Permute((2, 3, 1), dtype=common["dtype"], name="channels_last")(x)
    layout = {"data_format": "channels_last"}  # whatever a keras.json says
    for i, (filters, size, stride) in enumerate(((32, 8, 4), (64, 4, 2), (64, 3, 1))):
        initial = _initializers(size * size * x.shape[-1], config.run.seed, 100 + i)
        x = keras.layers.Conv2D(filters, size, stride, name=f"conv{i}", **initial, **common, **layout)(x)
    return _dense(inputs, x, common, spec, config, (512,))


def _scaled(spec, config):
    """Returns the inputs, them scaled, and the arguments that all layers have in common."""
    policy = "mixed_bfloat16" if config.hardware.precision == "bfloat16" else "float32"
    inputs = keras.Input(spec.observation_shape, dtype=np.dtype(spec.observation_dtype).name, name="observation")
    x = keras.layers.Rescaling(spec.observation_scale, dtype=policy, name="scale")(inputs)
    return inputs, x, {"activation": config.network.activation, "dtype": policy}


def _dense(inputs, x, common, spec, config, hidden_units):
    seed = config.run.seed
    if len(x.shape) > 2:
        x = keras.layers.Flatten(dtype=common["dtype"], name="flatten")(x)
    for i, units in enumerate(hidden_units):
        x = keras.layers.Dense(units, name=f"hidden{i}", **_initializers(x.shape[-1], seed, i), **common)(x)
    initial = _initializers(x.shape[-1], seed, 99)
    x = keras.layers.Dense(spec.num_actions, dtype="float32", name="q_values", **initial)(x)
    return keras.Model(inputs, x, name=NAME)


def _initializers(fan_in, seed, layer):
    limit = fan_in**-0.5
    kernel_seed, bias_seed = np.random.SeedSequence((seed, layer)).generate_state(2)
    return {
        "kernel_initializer": keras.initializers.RandomUniform(-limit, limit, seed=int(kernel_seed)),
        "bias_initializer": keras.initializers.RandomUniform(-limit, limit, seed=int(bias_seed)),
    }

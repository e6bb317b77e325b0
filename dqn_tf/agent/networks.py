"""Keras Q-networks: observations in, action values out."""

import contextlib
import functools
import random
import threading

import keras
import numpy as np
import tensorflow as tf

from dqn_tf.agent import heads
from dqn_tf.config import user_code
from dqn_tf.config.schema import Config, ConfigError
from dqn_tf.environment.spec import EnvironmentSpec, is_channels_first

NAME = "q_network"
_SEEDED = threading.RLock()


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


def own(name: str, spec: EnvironmentSpec, config: Config) -> keras.Model:
    """Returns what a function of the user's makes, --network=`name`, having seen that it can act.

    Raises:
      ConfigError: there is no such function, or what it returns is no Q-network of this environment.
      UserCodeFailure: it raises.
    """
    function, called = user_code.find("network", name), f"--network={name}"
    shape, dtype = spec.observation_shape, np.dtype(spec.observation_dtype)
    try:
        with _seeded(config.run.seed):
            model = function(shape, spec.num_actions, config)
    except (Exception, SystemExit) as error:
        raise user_code.failure(called, error) from error
    if not isinstance(model, keras.Model):
        raise ConfigError(f"{called} returned {user_code.line(type(model).__name__)}, which must be a keras.Model.")
    try:
        with _seeded(config.run.seed):  # a model of a class of its own has no weights before it is called
            seen = np.zeros((2, *shape), dtype)
            outputs = heads.values_of(model)(model(seen, training=False))
            values, dtype_of_values = np.shape(outputs), keras.backend.standardize_dtype(outputs.dtype)
            variables = model.trainable_variables, model.non_trainable_variables
            weights, others = ([tf.convert_to_tensor(one.value) for one in part] for part in variables)
            model.stateless_call(weights, others, seen, training=True)
            again, after = model.stateless_call(weights, others, seen, training=False)
            is_random = not all(np.array_equal(old, new) for old, new in zip(others, after, strict=True))
            is_random |= not np.array_equal(outputs, heads.values_of(model)(again), equal_nan=True)
            for training in (True, False):  # with any number of observations, as it is exported
                call = functools.partial(model.stateless_call, weights, others, training=training)
                tf.function(call, autograph=False).get_concrete_function(tf.TensorSpec([None, *shape], dtype))
    except Exception as error:
        what = f"{called}: the model, called with observations {dtype}[2, {', '.join(map(str, shape))}]"
        raise user_code.failure(what, error) from error
    if tuple(values) != (2, spec.num_actions):
        raise ConfigError(
            f"{called}: the model makes {list(values)} of 2 observations, not [2, {spec.num_actions}]: it must make a "
            "value for each action."
        )
    if dtype_of_values != "float32":
        raise ConfigError(f'{called}: the model makes {dtype_of_values} values; give its last layer dtype="float32".')
    if any(one.dtype != "float32" for one in model.trainable_variables):
        raise ConfigError(
            f"{called}: the model has weights that are not float32; compute in another dtype by Keras's "
            'dtype="mixed_bfloat16".'
        )
    if not model.trainable_variables:
        raise ConfigError(f"{called}: the model has no trainable weights, or is not a new one in each call.")
    if is_random:
        raise ConfigError(
            f"{called}: the model changes its state or draws random numbers as it acts (training=False), which a "
            "resumed run could not repeat; let its layers do so in training only."
        )
    try:
        model.to_json()
    except Exception as error:  # better now than at the end of the run
        raise ConfigError(
            f"{called}: the model cannot be saved: {user_code.line(error)[:200]}; give its classes a get_config."
        ) from error
    return model


@contextlib.contextmanager
def _seeded(seed):
    """Returns a context in which layers without a seed have one: Keras draws it from Python's generator."""
    with _SEEDED:  # the generators are the process's
        before, state = random.getstate(), np.random.get_state()
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(before)
            np.random.set_state(state)

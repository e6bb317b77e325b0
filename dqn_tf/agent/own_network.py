"""A Q-network of the user's, --network=module:function: made, and seen to be one that a run can use."""

import contextlib
import functools
import random
import threading
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from dqn_tf.agent import heads
from dqn_tf.config import user_code
from dqn_tf.config.schema import Config, ConfigError
from dqn_tf.environment.spec import EnvironmentSpec

_SEEDED = threading.RLock()


def build(name: str, spec: EnvironmentSpec, config: Config) -> keras.Model:
    """Returns what a function of the user's makes, with weights.

    Raises:
      ConfigError: there is no such function, or it returns no model that makes a value for each action.
      UserCodeFailure: it, or the model that it returns, raises.
    """
    function, called = user_code.find("network", name), f"--network={name}"
    try:
        with _seeded(config.run.seed):
            model = function(spec.observation_shape, spec.num_actions, config)
    except (Exception, SystemExit) as error:
        raise user_code.failure(called, error) from error
    if not isinstance(model, keras.Model):
        raise ConfigError(f"{called} returned {user_code.line(type(model).__name__)}, which must be a keras.Model.")
    with _called(name, spec, config):  # a model of a class of its own has no weights before it is called
        values = heads.values_of(model)(model(_observations(spec), training=False))
        shape, dtype = np.shape(values), keras.backend.standardize_dtype(values.dtype)
    if tuple(shape) != (2, spec.num_actions):
        raise ConfigError(
            f"{called}: the model makes {list(shape)} of 2 observations, not [2, {spec.num_actions}]: it must make a "
            "value for each action."
        )
    if dtype != "float32":
        raise ConfigError(f'{called}: the model makes {dtype} values; give its last layer dtype="float32".')
    if not model.trainable_variables:
        raise ConfigError(f"{called}: the model has no trainable weights, or is not a new one in each call.")
    return model


def check(name: str, model: keras.Model, spec: EnvironmentSpec, config: Config) -> None:
    """Looks whether a run can learn with a result of `build`, repeat what it does, and save it.

    Raises:
      ConfigError: it cannot.
      UserCodeFailure: the model raises as it is called in training, or with any number of observations.
    """
    called = f"--network={name}"
    if any(one.dtype != "float32" for one in model.trainable_variables):
        raise ConfigError(
            f"{called}: the model has weights that are not float32; compute in another dtype by Keras's "
            'dtype="mixed_bfloat16".'
        )
    if _changes_as_it_acts(name, model, spec, config):
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


def _changes_as_it_acts(name, model, spec, config):
    """Calls the model in every way that a run does, and returns whether it acts alike twice."""
    observations, values_of = _observations(spec), heads.values_of(model)
    variables = model.trainable_variables, model.non_trainable_variables
    with _called(name, spec, config):
        weights, state = ([tf.convert_to_tensor(one.value) for one in part] for part in variables)
        model.stateless_call(weights, state, observations, training=True)
        first, _ = model.stateless_call(weights, state, observations, training=False)
        again, after = model.stateless_call(weights, state, observations, training=False)
        for training in (True, False):  # with any number of observations, as it is exported
            call = functools.partial(model.stateless_call, weights, state, training=training)
            signature = tf.TensorSpec([None, *spec.observation_shape], spec.observation_dtype)
            tf.function(call, autograph=False).get_concrete_function(signature)
        is_same = all(np.array_equal(old, new) for old, new in zip(state, after, strict=True))
        return not (is_same and np.array_equal(values_of(first), values_of(again), equal_nan=True))


def _observations(spec):
    return np.zeros((2, *spec.observation_shape), spec.observation_dtype)


@contextlib.contextmanager
def _called(name: str, spec: EnvironmentSpec, config: Config) -> Iterator[None]:
    try:
        with _seeded(config.run.seed):
            yield
    except Exception as error:
        sizes = ", ".join(map(str, spec.observation_shape))
        what = f"--network={name}: the model, called with observations {np.dtype(spec.observation_dtype)}[2, {sizes}]"
        raise user_code.failure(what, error) from error


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
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

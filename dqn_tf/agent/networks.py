"""Keras Q-networks: an observation, a torso, a head."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from dqn_tf.agent import heads, layers
from dqn_tf.agent.building import Layers
from dqn_tf.agent.torsos import Features
from dqn_tf.config.schema import Config, Network
from dqn_tf.environment.spec import EnvironmentSpec

NAME = "q_network"
# Numbers of layers after the torso. See building.Layers.
_EMBEDDING, _VALUE, _OUTPUT, _VALUE_HIDDEN, _ADVANTAGE_HIDDEN = 97, 98, 99, 200, 300

Torso = Callable[[Any, Layers, Network], Features]


def build(torso: Torso, spec: EnvironmentSpec, config: Config) -> keras.Model:
    """Returns a Q-network, or --num_critics of them in one, whose weights are a function of the seed alone.

    With --precision=bfloat16 arithmetic is bfloat16, weights and outputs are float32. What it returns for observations
    [B, *obs] depends on its head, see heads.py.
    """
    if config.network.num_critics == 1:
        return _one(torso, spec, config, NAME)
    inputs = _input(spec)
    critics = [_one(torso, spec, config, f"critic{i}", i) for i in range(config.network.num_critics)]
    outputs = heads.Maxmin(dtype="float32", name="q_values")([critic(inputs) for critic in critics])
    return keras.Model(inputs, outputs, name=NAME)


def _one(torso, spec, config, name, critic=0):
    made, network = Layers(config, critic), config.network
    x = inputs = _input(spec)
    if network.normalize_observations:
        x = layers.ObservationNormalization(dtype="float32", name="normalize_observations")(x)
    else:
        x = keras.layers.Rescaling(spec.observation_scale, dtype=made.dtype, name="scale")(x)
    return keras.Model(inputs, _head(torso(x, made, network), made, spec.num_actions, network), name=name)


def _input(spec):
    return keras.Input(spec.observation_shape, dtype=np.dtype(spec.observation_dtype).name, name="observation")


def _head(features, made, num_actions, network):
    """Returns the outputs."""
    (x, hidden_units, num_hidden), kind, fractions = features, network.head, None
    if kind == "implicit_quantile":
        counts = network.num_tau_samples, network.num_policy_tau_samples
        fractions = layers.Fractions(*counts, dtype="float32", name="fractions")(x)
        cosines = layers.Cosines(dtype="float32", name="cosines")(fractions)
        embedding = made.dense(cosines, x.shape[-1], "embedding", _EMBEDDING)
        x = keras.layers.Reshape((1, x.shape[-1]), dtype=made.dtype, name="features")(x)
        x = keras.layers.Multiply(dtype=made.dtype, name="embedded")([x, embedding])

    def stream(units, name, number, hidden, first):
        y = x
        for i, size in enumerate(hidden_units, num_hidden):
            y = made.dense(y, size, f"{hidden}{i}", first + i, network.noisy)
        return made.output(y, units, name, number, network.noisy)

    size = {"categorical": network.num_atoms, "quantile": network.num_quantiles}.get(kind, 1)
    if network.dueling:
        value = stream(size, "value", _VALUE, "value_hidden", _VALUE_HIDDEN)
        advantage = stream(num_actions * size, "advantage", _OUTPUT, "advantage_hidden", _ADVANTAGE_HIDDEN)
        x = heads.Dueling(dtype="float32", name="dueling")([value, advantage])
    else:
        is_plain = kind == "expected"
        x = stream(num_actions * size, "q_values" if is_plain else "outputs", _OUTPUT, "hidden", 0)
        if is_plain:
            return x
        leading = () if fractions is None else (-1,)
        x = keras.layers.Reshape((*leading, num_actions, size), dtype="float32", name="of_actions")(x)
    how = {"dtype": "float32", "name": "q_values"}
    if kind == "expected":
        return heads.Expected(**how)(x)
    if kind == "categorical":
        return heads.Categorical(network.v_min, network.v_max, **how)(x)
    if kind == "quantile":
        return heads.Quantiles(**how)(x)
    return heads.ImplicitQuantiles(**how)([x, fractions])

"""The model of a run as others use it: a .keras file, and a SavedModel that takes raw observations."""

import keyword
import os
import pathlib
import re
from collections.abc import Callable
from typing import Any

import gymnasium
import keras
import numpy as np
import tensorflow as tf
from gymnasium import spaces

from dqn_tf.agent import heads, layers  # noqa: F401 - it registers layers
from dqn_tf.environment.spec import EnvironmentSpec

_TAKEN = ("self",)  # by the function that a loaded signature is


def export(network: keras.Model, spec: EnvironmentSpec, directory: pathlib.Path) -> None:
    """Writes `directory`/q_network.keras and `directory`/saved_model.

    The .keras model takes observations as the network does: Discrete, Dict and the like flattened. The SavedModel's
    serving_default signature takes a batch of raw observations (for Dict and Tuple one named tensor for
    each entry, see input_names) and returns <float32>[B, A] `q_values`. Column i is of the action `start` + i of a
    Discrete space; of MultiDiscrete and MultiBinary ones of that with the entries np.unravel_index(i, sizes) + start,
    in C order. Masks are not applied.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "q_network.keras").unlink(missing_ok=True)  # where it has another name too, that keeps what it is
    network.save(directory / "q_network.keras")
    module = tf.Module()
    module.network = network
    space, head = spec.observation_space, heads.values_of(network)
    leaves = dict(zip(input_names(space), (leaf for _, leaf in _leaves(space)), strict=True))

    signature = {name: _tensor_spec(name, leaf) for name, leaf in leaves.items()}

    @tf.function(input_signature=[signature], autograph=False)
    def serve(observations):
        return {"q_values": head(network(_encode(observations, leaves, spec), training=False))}

    tf.saved_model.save(module, str(directory / "saved_model"), signatures={"serving_default": serve})


def load_model(path: str | os.PathLike) -> tuple[keras.Model, Callable[[Any], Any]]:
    """Returns the Keras model of a file q_network.keras, and the function that makes action values of its outputs.

    keras.models.load_model loads the model of plain DQN, whose outputs are action values <float32>[B, A], but knows
    neither minatar_cnn's layer nor the layers and heads of other variants, which importing this module registers.
    """
    model = keras.models.load_model(path)
    return model, heads.values_of(model)


def input_names(space: gymnasium.Space) -> list[str]:
    """Returns the names of the signature's inputs, one for each part of an observation, as gymnasium flattens them.

    `observation` if there are no parts, `a/b` for entry b of a; `_` for what no name may hold, and after a name that
    TensorFlow could not tell from another one, or that Python has taken.
    """
    names, taken = [], set()
    for path, _ in _leaves(space):
        name = "/".join(re.sub("[^A-Za-z0-9_.-]", "_", part) or "_" for part in path)
        if not re.match("[A-Za-z0-9]", name):
            name = f"observation{name}"
        while _argument(name).lower() in taken or keyword.iskeyword(_argument(name)) or name in _TAKEN:
            name += "_"
        names.append(name)
        taken.add(_argument(name).lower())
    return names


def _argument(name):
    """Returns the name of the Python argument that TensorFlow makes of a tensor's name."""
    name = re.sub("[^A-Za-z0-9_]", "_", name)
    return name if name[0].isalpha() else f"arg_{name}"


def _leaves(space, path=()):
    """Returns (path, space) of all spaces without parts, in the order in which gymnasium flattens them."""
    if isinstance(space, spaces.Dict):
        parts = space.spaces.items()
    elif isinstance(space, spaces.Tuple):
        parts = enumerate(space.spaces)
    else:
        return [(path, space)]
    return [leaf for name, part in parts for leaf in _leaves(part, (*path, str(name)))]


def _tensor_spec(name, leaf):
    is_known = leaf.dtype != np.longdouble  # TensorFlow has no wider floats than these
    return tf.TensorSpec([None, *leaf.shape], tf.as_dtype(leaf.dtype) if is_known else tf.float64, name=name)


def _encode(observations, leaves, spec):
    """Returns what the network takes: an array, or all parts flattened and concatenated."""
    parts = [_flatten(observations[name], leaf) for name, leaf in leaves.items()]
    encoded = parts[0] if len(parts) == 1 else tf.concat(parts, axis=-1)
    return tf.reshape(tf.cast(encoded, spec.observation_dtype), [-1, *spec.observation_shape])


def _flatten(tensor, leaf):
    """Returns one part of an observation as [B, size]: one-hot if it is discrete, <float32>."""
    if isinstance(leaf, spaces.Discrete):
        return tf.one_hot(tf.cast(tensor, tf.int64) - int(leaf.start), int(leaf.n))
    if isinstance(leaf, spaces.MultiDiscrete):
        starts, sizes = np.ravel(leaf.start), np.ravel(leaf.nvec)
        flat = tf.cast(tf.reshape(tensor, [-1, len(sizes)]), tf.int64)
        return tf.concat([tf.one_hot(flat[:, i] - int(starts[i]), int(size)) for i, size in enumerate(sizes)], axis=-1)
    return tf.cast(tf.reshape(tensor, [-1, int(np.prod(leaf.shape))]), tf.float32)

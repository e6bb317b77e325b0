"""The model of a run as others use it: a .keras file, and a SavedModel that takes raw observations."""

import pathlib
import re

import gymnasium
import keras
import numpy as np
import tensorflow as tf
from gymnasium import spaces


def export(network: keras.Model, space: gymnasium.Space, directory: pathlib.Path) -> None:
    """Writes `directory`/q_network.keras and `directory`/saved_model.

    The .keras model takes observations as the network does: Discrete, Dict and the like flattened. The SavedModel's
    serving_default signature takes a batch of raw observations of `space` (for Dict and Tuple one named tensor for
    each entry: `a/b` for entry b of a, with `_` for what no name may hold) and returns <float32>[B, A] `q_values`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    network.save(directory / "q_network.keras")
    module = tf.Module()
    module.network = network
    names = _input_names(_leaves(space))

    @tf.function(input_signature=[{name: _tensor_spec(name, leaf) for name, leaf in names.items()}])
    def serve(observations):
        return {"q_values": network(_encode(observations, names, network))}

    tf.saved_model.save(module, str(directory / "saved_model"), signatures={"serving_default": serve})


def _leaves(space, prefix=""):
    """Returns the spaces without parts by name, in the order in which gymnasium flattens them."""
    if isinstance(space, spaces.Dict):
        parts = space.spaces.items()
    elif isinstance(space, spaces.Tuple):
        parts = enumerate(space.spaces)
    else:
        return {prefix or "observation": space}
    leaves = {}
    for name, part in parts:
        leaves.update(_leaves(part, f"{prefix}/{name}" if prefix else str(name)))
    return leaves


def _input_names(leaves):
    """Returns the leaves by names that a signature may have, all different."""
    named = {}
    for name, leaf in leaves.items():
        name = re.sub("[^A-Za-z0-9_./-]", "_", name)
        name = name if re.match("[A-Za-z0-9]", name) else f"observation{name}"
        while name in named:
            name += "_"
        named[name] = leaf
    return named


def _tensor_spec(name, leaf):
    return tf.TensorSpec([None, *leaf.shape], tf.as_dtype(leaf.dtype), name=name)


def _encode(observations, leaves, network):
    """Returns what the network takes: an array, or all parts flattened and concatenated."""
    parts = [_flatten(observations[name], leaf) for name, leaf in leaves.items()]
    encoded = parts[0] if len(parts) == 1 else tf.concat(parts, axis=-1)
    return tf.reshape(tf.cast(encoded, network.inputs[0].dtype), [-1, *network.inputs[0].shape[1:]])


def _flatten(tensor, leaf):
    """Returns one part of an observation as [B, size]: one-hot where it is discrete, <float32>."""
    if isinstance(leaf, spaces.Discrete):
        return tf.one_hot(tensor - leaf.start, int(leaf.n))
    if isinstance(leaf, spaces.MultiDiscrete):
        starts, sizes = np.ravel(leaf.start), np.ravel(leaf.nvec)
        flat = tf.reshape(tensor, [-1, len(sizes)])
        return tf.concat([tf.one_hot(flat[:, i] - starts[i], int(size)) for i, size in enumerate(sizes)], axis=-1)
    return tf.cast(tf.reshape(tensor, [-1, int(np.prod(leaf.shape))]), tf.float32)

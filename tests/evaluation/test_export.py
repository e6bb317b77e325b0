"""The exported model: on raw observations it gives what the network gives on those that gymnasium flattens."""

import gymnasium
import keras
import numpy as np
import pytest
import tensorflow as tf
from gymnasium import spaces
from tensorflow.core.protobuf import saved_model_pb2

from dqn_tf.agent import architecture
from dqn_tf.config import settings
from dqn_tf.environment import maker, vector
from dqn_tf.evaluation import export
from tests import marks

BOX = spaces.Box(-2.0, 2.0, (3,), np.float32)
NESTED = spaces.Dict(
    {
        "camera": spaces.Dict({"image": spaces.Box(0, 255, (2, 2, 1), np.uint8), "on": spaces.Discrete(2)}),
        "arm": spaces.Tuple((BOX, spaces.Discrete(3, start=-1))),
        "keys": spaces.MultiBinary((2, 2)),
    }
)
# The space, the names that the serving signature gives its inputs, the shapes of a batch of 5 of each.
SPACES = {
    "float box": (BOX, {"observation": (5, 3)}),
    "scalar box": (spaces.Box(-1.0, 1.0, (), np.float32), {"observation": (5,)}),
    "image": (spaces.Box(0, 255, (4, 5, 3), np.uint8), {"observation": (5, 4, 5, 3)}),
    "discrete": (spaces.Discrete(4), {"observation": (5,)}),
    "discrete from 7": (spaces.Discrete(4, start=7), {"observation": (5,)}),
    "binary matrix": (spaces.MultiBinary((2, 3)), {"observation": (5, 2, 3)}),
    "multi from": (spaces.MultiDiscrete([2, 3], start=[5, -1]), {"observation": (5, 2)}),
    "multi matrix": (spaces.MultiDiscrete([[2, 3], [4, 2]], start=[[0, 1], [2, 3]]), {"observation": (5, 2, 2)}),
    "tuple": (spaces.Tuple((BOX, spaces.Discrete(3, start=2))), {"0": (5, 3), "1": (5,)}),
    "nested": (
        NESTED,
        {
            "arm/0": (5, 3),
            "arm/1": (5,),
            "camera/image": (5, 2, 2, 1),
            "camera/on": (5,),
            "keys": (5, 2, 2),
        },
    ),
    "odd names": (
        spaces.Dict({"joint pos": BOX, "joint_pos": spaces.Discrete(9), "_x": BOX, "größe": spaces.Discrete(2)}),
        {"observation_x": (5, 3), "gr__e": (5,), "joint_pos": (5, 3), "joint_pos_": (5,)},
    ),
    "names that are taken": (
        spaces.Dict({"A": BOX, "a": BOX, "from": spaces.Discrete(5), "None": BOX, "self": BOX, "arg_0": BOX, "0": BOX}),
        {
            **{"0": (5, 3), "A": (5, 3), "None_": (5, 3), "a_": (5, 3), "arg_0_": (5, 3), "from_": (5,)},
            "self_": (5, 3),
        },
    ),
    "names with slashes": (
        spaces.Dict({"a": spaces.Dict({"b": BOX, "": BOX}), "a/b": spaces.Discrete(3), "/": BOX, "": BOX, "../a": BOX}),
        {
            **{"observation_": (5, 3), "observation.._a": (5, 3), "observation__": (5, 3)},
            **{"a/_": (5, 3), "a/b": (5, 3), "a_b_": (5,)},
        },
    ),
    "long names and nothing": (
        spaces.Dict({"x" * 3000: BOX, "y": spaces.Box(0, 1, (0,), np.float32)}),
        {"x" * 3000: (5, 3), "y": (5, 0)},
    ),
    "small numbers": (
        spaces.Dict({"m": spaces.MultiDiscrete([2, 3], np.uint16), "n": spaces.MultiDiscrete([2, 3], np.int8)}),
        {"m": (5, 2), "n": (5, 2)},
    ),
}


class Fixed(gymnasium.Env):
    """Has a space; its observations are samples."""

    metadata = {"render_modes": []}

    def __init__(self, space):
        self.observation_space, self.action_space = space, spaces.Discrete(3)


@pytest.fixture
def build(monkeypatch):
    """Returns a function that builds the network for observations of a space, and returns it and the spec."""

    def build(space, kind="mlp"):
        registered = gymnasium.envs.registration.EnvSpec("Fixed-v0", entry_point=Fixed, kwargs={"space": space})
        monkeypatch.setitem(gymnasium.registry, "Fixed-v0", registered)
        spec = vector.describe(maker.Maker("Fixed-v0"))
        config = settings.build({"hidden_units": (8,), "seed": 1})
        return architecture.ARCHITECTURES[kind].build(spec, config), spec

    return build


def leaves(observation):
    """Returns the parts of an observation in the order of the space."""
    if isinstance(observation, dict):
        return [leaf for part in observation.values() for leaf in leaves(part)]
    if isinstance(observation, tuple):
        return [leaf for part in observation for leaf in leaves(part)]
    return [observation]


def sample(space, names, count=5):
    """Returns `count` observations, and the batch of their parts by name."""
    space.seed(3)
    observations = [space.sample() for _ in range(count)]
    columns = zip(*map(leaves, observations), strict=True)
    return observations, {name: np.stack(column) for name, column in zip(names, columns, strict=True)}


def encode(space, observations):
    """Returns what the network takes: arrays as they come, all else as gymnasium flattens it."""
    if isinstance(space, spaces.Box) and space.shape:
        return np.stack(observations)
    return np.stack([spaces.flatten(space, observation) for observation in observations]).astype(np.float32)


def close(values, expected):
    # The same arithmetic in the same precision; the matrix product may add in another order.
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)
    assert np.abs(expected).max() > 0.01


QUICK = ("float box", "image", "discrete from 7", "multi from", "nested", "names that are taken")


@pytest.mark.parametrize("name", [*QUICK, *marks.thorough(*(name for name in SPACES if name not in QUICK))])
def test_saved_model_on_raw_observations_gives_the_values_of_the_network(build, tmp_path, logical_cpus, name):
    space, shapes = SPACES[name]
    network, spec = build(space)
    export.export(network, spec, tmp_path)
    observations, batch = sample(space, shapes)
    expected = network(encode(space, observations).astype(network.inputs[0].dtype)).numpy()
    saved = saved_model_pb2.SavedModel.FromString((tmp_path / "saved_model" / "saved_model.pb").read_bytes())
    signature = saved.meta_graphs[0].signature_def["serving_default"]
    assert {name: tensor_type(info) for name, info in signature.inputs.items()} == {
        name: ([-1, *shape[1:]], batch[name].dtype.name) for name, shape in shapes.items()
    }
    assert {name: tensor_type(info) for name, info in signature.outputs.items()} == {"q_values": ([-1, 3], "float32")}
    serve = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["serving_default"]
    values = serve(**{name: tf.constant(array) for name, array in batch.items()})
    assert {name: array.shape for name, array in batch.items()} == shapes
    assert set(values) == {"q_values"} and values["q_values"].shape == (5, 3)
    close(values["q_values"].numpy(), expected)
    assert len(np.unique(expected, axis=0)) > 1  # it does depend on the observation


def tensor_type(info):
    return [axis.size for axis in info.tensor_shape.dim], tf.as_dtype(info.dtype).name


@pytest.mark.parametrize("name", ["image", "nested"])
def test_keras_model_loads_in_safe_mode_and_gives_the_same_values(build, tmp_path, logical_cpus, name):
    space, shapes = SPACES[name]
    network, spec = build(space)
    export.export(network, spec, tmp_path)
    encoded = encode(space, sample(space, shapes)[0])
    loaded = keras.models.load_model(tmp_path / "q_network.keras", safe_mode=True)
    close(loaded(encoded).numpy(), network(encoded).numpy())


def test_convolutional_network_is_exported_in_both_forms(build, tmp_path, logical_cpus):
    space = spaces.Box(0, 255, (4, 36, 36), np.uint8)
    network, spec = build(space, "nature_cnn")
    export.export(network, spec, tmp_path)
    observations, batch = sample(space, ["observation"])
    expected = network(np.stack(observations)).numpy()
    serve = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["serving_default"]
    close(serve(observation=tf.constant(batch["observation"]))["q_values"].numpy(), expected)
    loaded = keras.models.load_model(tmp_path / "q_network.keras", safe_mode=True)
    close(loaded(batch["observation"]).numpy(), expected)


def test_export_over_an_earlier_one_replaces_it(build, tmp_path, logical_cpus):
    network, spec = build(BOX)
    export.export(network, spec, tmp_path)
    network.set_weights([weight + 1 for weight in network.get_weights()])
    export.export(network, spec, tmp_path)
    observation = np.ones((1, 3), np.float32)
    serve = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["serving_default"]
    close(serve(observation=tf.constant(observation))["q_values"].numpy(), network(observation).numpy())
    loaded = keras.models.load_model(tmp_path / "q_network.keras", safe_mode=True)
    close(loaded(observation).numpy(), network(observation).numpy())

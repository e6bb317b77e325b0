"""Greedy policies give the values of the Keras network whose weights they were given."""

import numpy as np
import pytest

from dqn_tf.agent import architecture, numpy_policy, policies, q_network
from dqn_tf.config import settings
from dqn_tf.distribution import packing
from tests import making

FLOAT32 = np.dtype(np.float32)
UINT8 = np.dtype(np.uint8)
# NumPy's and TensorFlow's matrix products add in different orders: a few roundings of float32 (6e-8) on values near 1.
TOLERANCE = 1e-5


def dense_network(hidden_units=(16, 8), activation="relu", shape=(5,), dtype=FLOAT32, seed=3):
    """Returns an mlp with biases that are not 0, as after training."""
    network = making.network(
        "mlp", shape, dtype, 3, largest=255, hidden_units=hidden_units, activation=activation, seed=seed
    )
    generator = np.random.default_rng(seed)
    network.set_weights([weight + generator.normal(0, 0.3, weight.shape) for weight in network.get_weights()])
    return network


def observations(shape=(5,), dtype=FLOAT32):
    generator = np.random.default_rng(0)
    if dtype == UINT8:
        return generator.integers(256, size=(7, *shape), dtype=np.uint8)
    return generator.normal(size=(7, *shape)).astype(np.float32)


def policy_for(activation="relu", hidden_units=(16, 8), shape=(4,), dtype=np.float32):
    spec = making.spec(shape, dtype, 3, 255 if dtype == UINT8 else 1)
    return numpy_policy.create(spec, settings.build({"activation": activation, "hidden_units": hidden_units}))


def plain(outputs):
    return outputs


def assert_same_values(policy, network, observation):
    actual = policy.values(observation)
    assert actual.dtype == np.float32 and actual.shape == (len(observation), 3)
    np.testing.assert_allclose(actual, np.asarray(network(observation)), rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize(
    "activation, hidden_units", [("relu", (16, 8)), ("tanh", (4, 32, 4)), ("linear", (16,)), ("relu", ())]
)
def test_numpy_policy_when_loaded_gives_the_values_of_the_keras_network(activation, hidden_units):
    network = dense_network(hidden_units, activation)
    policy = policy_for(activation, hidden_units)
    policy.load(network.get_weights())
    assert_same_values(policy, network, observations())


def test_numpy_policy_when_observations_are_bytes_scales_them_like_the_network():
    network = dense_network(shape=(3, 4), dtype=UINT8)
    policy = policy_for(shape=(3, 4), dtype=UINT8)
    policy.load(network.get_weights())
    assert_same_values(policy, network, observations((3, 4), UINT8))


def test_numpy_policy_leaves_the_observation_alone():
    network = dense_network((), "relu")
    policy = policy_for(hidden_units=())
    policy.load(network.get_weights())
    observation = observations()
    policy.values(observation)
    np.testing.assert_array_equal(observation, observations())


def test_network_policy_when_loaded_gives_the_values_of_the_keras_network():
    def build(seed):
        return making.network("nature_cnn", (36, 36, 2), UINT8, 3, largest=255, seed=seed)

    network, policy = build(3), q_network.NetworkPolicy(build(4), plain)
    policy.load(network.get_weights())
    for num_observations in (7, 2):  # evaluation ends with fewer environments than the actor has
        assert_same_values(policy, network, observations((36, 36, 2), UINT8)[:num_observations])


@pytest.mark.parametrize("make", [lambda: policy_for(), None])
def test_load_takes_a_snapshot_that_later_changes_of_the_network_do_not_reach(make):
    network = dense_network()
    policy = make() if make else q_network.NetworkPolicy(dense_network(seed=4), plain)
    policy.load(network.get_weights())
    before = policy.values(observations())
    network.set_weights([weight + 1 for weight in network.get_weights()])
    np.testing.assert_array_equal(policy.values(observations()), before)


@pytest.mark.parametrize("make", [lambda: policy_for(), None])
def test_load_when_called_again_takes_over_the_new_weights(make):
    first, second = dense_network(seed=5), dense_network(seed=6)
    policy = make() if make else q_network.NetworkPolicy(dense_network(seed=4), plain)
    policy.load(first.get_weights())
    policy.values(observations())
    policy.load(second.get_weights())
    assert_same_values(policy, second, observations())


@pytest.mark.parametrize("make", [lambda: policy_for(), None])
def test_load_when_the_weights_are_one_vector_takes_them_over(make):
    network = dense_network(seed=5)
    policy = make() if make else q_network.NetworkPolicy(dense_network(seed=4), plain)
    policy.load(packing.Packed(packing.pack(network.weights), [one.shape for one in network.weights]))
    assert_same_values(policy, network, observations())


@pytest.mark.parametrize("make", [lambda: policy_for(), None])
def test_load_when_there_is_a_weight_too_few_refuses(make):
    policy = make() if make else q_network.NetworkPolicy(dense_network(seed=4), plain)
    with pytest.raises(ValueError, match="shorter"):
        policy.load(dense_network().get_weights()[:-1])


def policy_of(kind, shape, dtype, activation):
    """Returns the Q-network of such settings, and the policy chosen for it."""
    config = settings.build({"hidden_units": (16, 8), "activation": activation, "seed": 9})
    made = q_network.QNetwork(architecture.ARCHITECTURES[kind], making.spec(shape, dtype, 3, 255), config)
    return made.build(), made.policy()


@pytest.mark.parametrize("activation", ["relu", "tanh", "linear"])
def test_policy_when_numpy_knows_the_network_is_numpys(activation):
    network, policy = policy_of("mlp", (3, 4), UINT8, activation)
    assert isinstance(policy, numpy_policy.NumpyPolicy)
    policy.load(network.get_weights())
    assert_same_values(policy, network, observations((3, 4), UINT8))


@pytest.mark.parametrize(("kind", "activation"), [("mlp", "gelu"), ("nature_cnn", "relu"), ("nature_cnn", "linear")])
def test_policy_when_numpy_does_not_know_the_network_is_tensorflows(kind, activation):
    network, policy = policy_of(kind, (36, 36), UINT8, activation)
    assert isinstance(policy, q_network.NetworkPolicy)
    policy.load(network.get_weights())
    assert_same_values(policy, network, observations((36, 36), UINT8))


class Fixed:
    """Stands for a Policy whose greedy action is 2."""

    def values(self, observation):
        return np.tile(np.float32([0, 1, 3, 2]), (len(observation), 1))


def actions(epsilon, seeds, num_steps=2000):
    """Returns <int32>[T, N] nearly greedy actions with a generator of each seed."""
    generators = [np.random.default_rng(seed) for seed in seeds]
    return np.stack(
        [policies.nearly_greedy(Fixed(), np.zeros((len(seeds), 1)), epsilon, generators) for _ in range(num_steps)]
    )


def test_nearly_greedy_with_epsilon_0_is_greedy_and_draws_nothing():
    action = policies.nearly_greedy(Fixed(), np.zeros((3, 1)), 0.0, [])
    np.testing.assert_array_equal(action, np.int32([2, 2, 2]), strict=True)


def test_nearly_greedy_explores_uniformly_in_that_share_of_steps():
    action = actions(0.4, [1, 2])
    assert (action.shape, action.dtype) == ((2000, 2), np.int32)
    # Of 4000 actions each of the other three has a share of 0.1: standard deviation sqrt(0.1 * 0.9 / 4000) = 0.0047.
    shares = np.bincount(action.ravel(), minlength=4) / 4000
    np.testing.assert_allclose(shares, [0.1, 0.1, 0.7, 0.1], rtol=0, atol=4 * 0.0073)


def test_nearly_greedy_of_a_row_depends_on_its_own_generator_only():
    alone = actions(0.5, [7], 100)[:, 0]
    np.testing.assert_array_equal(actions(0.5, [3, 7, 9], 100)[:, 1], alone)
    assert not np.array_equal(actions(0.5, [3], 100)[:, 0], alone)

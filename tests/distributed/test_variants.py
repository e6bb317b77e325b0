"""Every variant of DQN: the same under 1 replica, 2 mirrored and 2 processes; acts, is exported and loaded alike."""

import numpy as np
import pytest

import dqn_tf
from dqn_tf.agent import heads, numpy_policy
from dqn_tf.evaluation import export
from dqn_tf.experience import accumulator, replay
from tests import marks, runs, variants
from tests.distributed import test_parity
from tests.placements import one_replica, two_replicas

TOLERANCE = 1e-6
ALL = [*variants.VARIANTS, *variants.CONVOLUTIONAL]
EACH = ["rainbow", *marks.thorough(*(name for name in ALL if name != "rainbow"))]


@pytest.fixture(scope="module")
def alone():
    """Returns a function from a variant to what came out of its updates by one replica."""
    known = {}

    def alone(name):
        if name not in known:
            known[name] = variants.train(one_replica(), name)
        return known[name]

    return alone


def assert_same(found, expected, tolerance=TOLERANCE):
    assert found.keys() == expected.keys()
    slots = [one for name, one in expected.items() if name.startswith("optimizer/") and one.ndim]
    slots = max(np.abs(one).max() for one in slots)  # a scalar is the learning rate, or counts
    for name in expected.keys() - {"num_traces"}:
        scale = slots if name.startswith("optimizer/") else max(np.abs(expected[name]).max(), 0.01)
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=tolerance * scale, err_msg=name)


@pytest.mark.parametrize("name", EACH)
def test_updates_by_two_mirrored_replicas_equal_those_of_one_and_are_traced_once(alone, name):
    expected = alone(name)
    before = variants.network_of(name).build().get_weights()
    moved = [np.abs(expected[f"network/{i}"] - one).max() for i, one in enumerate(before)]
    assert max(moved) > 1e-3 and np.isfinite(expected["priority"]).all() and (expected["priority"] >= 0).all()
    assert_same(variants.train(two_replicas(), name), expected)
    assert expected["num_traces"] == 1


def corridor(generator, forward, *leading):
    """Returns Transitions of four places in a row: `forward` from the third is worth 1, and ends the episode."""
    place, action = generator.integers(3, size=leading), generator.integers(3, size=leading, dtype=np.int32)
    reached = np.clip(place + np.roll([1, -1, 0], forward)[action], 0, 3)
    is_end, rows = (reached == 3).astype(np.float32), np.eye(4, dtype=np.float32)
    return accumulator.Transitions(rows[place], action, is_end, 0.9 * (1 - is_end), rows[reached])


@pytest.mark.parametrize("name", ["rainbow", *marks.thorough(*(one for one in variants.VARIANTS if one != "rainbow"))])
def test_learner_finds_the_way_through_a_corridor_and_what_it_is_worth(name):
    made, places = variants.learner_of(one_replica(), name, learning_rate=0.01), np.eye(4, dtype=np.float32)[:3]
    forward = values_of(made.network, places)[0].argmin()  # what it would not do yet
    made.update(replay.Sample(corridor(np.random.default_rng(0), forward, 600, variants.BATCH_SIZE)))
    found = values_of(made.network, places)
    assert (found.argmax(axis=1) == forward).all(), found
    if not variants.config_of(name).learning.munchausen:  # whose values are of another return
        np.testing.assert_allclose(found.max(axis=1), [0.81, 0.9, 1.0], atol=0.1)


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """Returns what came out of the updates of all variants by each of two processes."""
    directory, ports = tmp_path_factory.mktemp("variants"), runs.addresses(2)
    commands = {str(index): [str(index), *ports] for index in range(2)}
    with test_parity.started(directory, commands, variants.__name__) as processes:
        test_parity.wait_for(processes, directory)
    found = []
    for process in commands:
        with np.load(directory / f"{process}.npz") as file:
            found.append(dict(file))
    return found


@pytest.mark.thorough
@pytest.mark.parametrize("name", ALL)
def test_updates_by_two_processes_equal_those_of_one(alone, workers, name):
    first, second = (
        {key.split("|")[1]: array for key, array in found.items() if key.startswith(f"{name}|")} for found in workers
    )
    for key in first.keys() - {"priority"}:
        np.testing.assert_array_equal(first[key], second[key], err_msg=key)
    assert_same({**first, "priority": np.concatenate([first["priority"], second["priority"]], axis=1)}, alone(name))


@pytest.mark.parametrize("name", marks.thorough(*variants.CONVOLUTIONAL))  # others: tests/training/test_variant_runs.py
def test_updates_after_a_restore_are_those_without_to_the_bit(name, tmp_path):
    import tensorflow as tf

    def checkpoint(made):  # of what persistence/checkpoints.py saves
        return tf.train.Checkpoint(network=made.network, target=made.target, optimizer=made.optimizer)

    transitions, *rest = variants.sample(name, one_replica())
    first, second = (
        replay.Sample(transitions._make(column[part] for column in transitions), *(one[part] for one in rest))
        for part in (slice(0, 3), slice(3, 6))
    )
    made, resumed = (variants.learner_of(one_replica(), name) for _ in range(2))
    made.update(first)
    path = checkpoint(made).write(str(tmp_path / "saved"))
    metrics, priority = made.update(second)
    checkpoint(resumed).read(path).assert_consumed()
    metrics_resumed, priority_resumed = resumed.update(second)
    np.testing.assert_array_equal(metrics_resumed, metrics)
    np.testing.assert_array_equal(priority_resumed, priority)
    for key, array in variants.state_of(made).items():
        np.testing.assert_array_equal(variants.state_of(resumed)[key], array, err_msg=key)


@pytest.mark.parametrize("name", ["c51", "minatar_cnn", *marks.thorough("qr_dqn", "munchausen", "rainbow", "btr")])
def test_updates_that_xla_compiles_are_near_those_it_does_not(alone, name):
    found = variants.train(one_replica(), name, jit_compile=True)
    if name in ("rainbow", "btr"):  # they draw random numbers, for which XLA has a generator of its own
        assert np.isfinite(found["metrics"]).all() and found["num_traces"] == 1
    else:
        assert_same(found, alone(name), test_parity.TOLERANCE_COMPILED)


@pytest.mark.parametrize("name", ["rainbow", *marks.thorough("maxmin", "all", "impala_cnn")])
def test_updates_in_bfloat16_move_float32_weights_the_same_way(alone, name):
    before = np.concatenate([one.ravel() for one in variants.network_of(name).build().get_weights()])
    found = variants.train(one_replica(), name, precision="bfloat16")
    moved = [
        np.concatenate([one[f"network/{i}"].ravel() for i in range(len(one)) if f"network/{i}" in one]) - before
        for one in (found, alone(name))
    ]
    cosine = moved[0] @ moved[1] / np.prod([np.linalg.norm(one) for one in moved])
    assert 0.95 < cosine and (moved[0] != moved[1]).any()
    np.testing.assert_allclose(found["metrics"], alone(name)["metrics"], rtol=0.02, atol=2e-3)
    assert {one.dtype for key, one in found.items() if key.startswith("network/")} == {np.dtype(np.float32)}


def made(name):
    """Returns the network of a variant, with random weights, and its policy."""
    make, generator = variants.network_of(name), np.random.default_rng(5)
    network, policy = make.build(), make.policy()
    network.set_weights([np.abs(one) + generator.random(one.shape, np.float32) * 0.1 for one in network.get_weights()])
    policy.load(network.get_weights())
    return network, policy


def values_of(network, observation):
    return heads.values_of(network)(network(observation, training=False)).numpy()


@pytest.mark.parametrize("name", ALL)
def test_policy_acts_by_the_values_of_the_network_and_is_noisy_if_the_network_is(name):
    network, policy = made(name)
    observation = variants.observations(name, 5)
    expected = values_of(network, observation)
    assert expected.shape == (5, 3)
    np.testing.assert_allclose(policy.values(observation), expected, rtol=1e-5, atol=1e-5)
    assert isinstance(policy, numpy_policy.NumpyPolicy) == (name in variants.VARIANTS or name.startswith("minatar"))
    architecture = variants.network_of(name).architecture
    if architecture.num_weights:
        counted = architecture.num_weights(variants.spec_of(name), variants.config_of(name))
        assert counted == sum(one.numpy().size for one in network.trainable_variables) or "norm" in str(network.weights)
    if variants.config_of(name).network.noisy:
        noisy = policy.values(observation, 7)
        np.testing.assert_array_equal(policy.values(observation, 7), noisy)
        assert np.abs(policy.values(observation, 8) - noisy).max() > 1e-4 < np.abs(noisy - expected).max()
        quiet = variants.network_of(name, noisy_sigma=0.0)
        network, policy = quiet.build(), quiet.policy()
        policy.load(network.get_weights())
        np.testing.assert_allclose(policy.values(observation, 7), policy.values(observation), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["btr", *marks.thorough(*(name for name in ALL if name != "btr"))])
def test_exported_model_gives_the_same_values(name, tmp_path):
    import tensorflow as tf

    network, _ = made(name)
    observation = variants.observations(name, 5)
    expected = values_of(network, observation)
    export.export(network, variants.spec_of(name), tmp_path)
    loaded, values = dqn_tf.load_model(tmp_path / "q_network.keras")
    np.testing.assert_array_equal(values(loaded(observation, training=False)), expected)
    serve = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["serving_default"]
    found = serve(observation=tf.constant(observation))["q_values"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)

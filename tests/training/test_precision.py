"""--precision=bfloat16: products of 8 bits, weights and all that is kept of them in float32."""

import numpy as np
import pytest

from dqn_tf.config import schema
from dqn_tf.experience import accumulator, replay
from dqn_tf.process import hardware
from tests import making, runs
from tests.placements import one_replica

KINDS = {"mlp": ((2,), np.float32), "nature_cnn": ((4, 36, 36), np.uint8)}
KIND = pytest.mark.parametrize("kind", KINDS)


def make(kind, precision, **settings):
    build = making.builder(
        *(kind, *KINDS[kind], 3), largest=255, hidden_units=(64,), activation="tanh", precision=precision
    )
    agent = schema.Learning(learning_rate=0.01, learning_rate_schedule="constant", clip_norm=0.0, **settings)
    return making.make_learner(one_replica(), build, agent, 16, 10)


def batches(kind, num_updates=1):
    shape, dtype = KINDS[kind]
    generator = np.random.default_rng(0)

    def observations():
        size = (num_updates, 16, *shape)
        return generator.integers(256, size=size, dtype=np.uint8) if dtype == np.uint8 else generator.normal(size=size)

    return accumulator.Transitions(
        observations().astype(dtype),
        generator.integers(3, size=(num_updates, 16), dtype=np.int32),
        generator.normal(size=(num_updates, 16)).astype(np.float32),
        generator.choice(np.float32([0, 0.9]), size=(num_updates, 16)),
        observations().astype(dtype),
    )


def update(made, transitions):
    """Makes updates from transitions [K, B, ...], and returns the means of their metrics."""
    return made.update(replay.Sample(transitions))[0]


def values(made, kind):
    return np.asarray(made.network(batches(kind).s_tm1[0]))


@KIND
def test_update_in_bfloat16_gives_nearly_the_weights_and_values_of_float32(kind):
    exact, rough = (make(kind, precision, optimizer="sgd") for precision in ("float32", "bfloat16"))
    start = exact.weights()
    # The same weights; some roundings of 8 bits, 2^-9 of a number each, leave 5 % of the largest value.
    assert 0 < np.abs(values(rough, kind) - values(exact, kind)).max() < 0.05 * np.abs(values(exact, kind)).max()
    of_exact, of_rough = update(exact, batches(kind)), update(rough, batches(kind))
    np.testing.assert_allclose(of_rough, of_exact, rtol=0.05, atol=0.005)
    for before, expected, actual in zip(start, exact.weights(), rough.weights(), strict=True):
        # The step, of as many roundings forth and back.
        assert 0 < np.linalg.norm(actual - expected) < 0.1 * np.linalg.norm(expected - before)


@KIND
def test_update_in_bfloat16_keeps_weights_target_and_slots_in_float32(kind):
    made = make(kind, "bfloat16", optimizer="adam", target_update_rate=0.1)
    before = made.weights()
    update(made, batches(kind, num_updates=2))
    slots = [variable for variable in made.optimizer.variables if variable is not made.optimizer.iterations]
    assert len(slots) == 1 + 2 * len(before)  # the learning rate, and two for each weight
    assert {variable.dtype for variable in (*made.network.weights, *made.target.weights, *slots)} == {"float32"}
    for old, new, target in zip(before, made.weights(), made.target.get_weights(), strict=True):
        assert old.dtype == new.dtype == target.dtype == np.float32
        # Not rounded to 8 bits: Polyak's steps of 0.1 * 0.01 would be lost in weights near 1.
        assert (new.view(np.uint32) & 0xFFFF).any() and (target.view(np.uint32) & 0xFFFF).any()


@pytest.mark.thorough
def test_run_in_bfloat16_opens_the_chain(train, tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "has_bfloat16", lambda: True)  # slow elsewhere, and as right
    argv = ["--env=tests.environments:Chain-v0", "--precision=bfloat16", "--train_env_steps=6000"]
    argv += ["--hidden_units=64,64", "--batch_size=64", "--replay_capacity=6000", "--eval_period=2000"]
    argv += ["--epsilon_decay_env_steps=3000", "--jit_compile=true", "--checkpoint_period=0"]
    train(tmp_path, *argv)
    summary = runs.read_json(tmp_path / "summary.json")
    # A random policy opens it in (1/2)^6 of its tries.
    assert (summary["eval_return_mean"], summary["eval_return_std"]) == (1.0, 0.0)
    kinds = {array.dtype for name, array in runs.tensors(tmp_path).items() if "iterations" not in name}
    assert np.dtype(np.float32) in kinds and not any("bfloat16" in str(kind) for kind in kinds)

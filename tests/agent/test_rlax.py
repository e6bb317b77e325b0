"""Losses equal those of rlax, in values and gradients."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from dqn_tf.agent import distributional, heads, losses
from dqn_tf.experience.accumulator import Transitions
from tests import marks
from tests.agent import rlax_worker


@pytest.fixture(scope="module")
def of_rlax(tmp_path_factory):
    path = tmp_path_factory.mktemp("rlax") / "out.npz"
    command = [sys.executable, "-m", rlax_worker.__name__, str(path)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    with np.load(path) as file:
        return dict(file)


class Fixed:
    """Stands for a network: given outputs of s_tm1 (0) and of s_t (1)."""

    def __init__(self, head, *outputs):
        self.head = head
        self._outputs = outputs

    def __call__(self, observation, training=True):
        return self._outputs[observation]

    def values(self, observation, training=True):
        return self.head(self(observation))


def expected(double_q):
    def loss(q_tm1, g):
        online, target = Fixed(tf.identity, q_tm1, g["selector"]), Fixed(tf.identity, None, g["q_t"])
        return losses.QLearning(losses.huber, double_q)(online, target, transitions(g))

    return loss


def categorical(double_q):
    def loss(logits, g):
        atoms = rlax_worker.V_MIN, rlax_worker.V_MAX
        head = heads.Categorical(*atoms).values
        online, target = Fixed(head, logits), Fixed(head, None, g["logits_t"])
        online.values = lambda observation, training: g["selector"]
        return distributional.CategoricalQLearning(*atoms, double_q)(online, target, transitions(g))

    return loss


def quantile(kappa, selector):
    def loss(z, g):
        def head(outputs):
            return tf.reduce_mean(outputs["quantiles"], axis=-1)

        online, target = (
            Fixed(head, *({"quantiles": one, "fractions": g["tau"]} for one in outputs))
            for outputs in ((z, g[selector]), (g["z_t"], g["z_t"]))
        )
        made = distributional.QuantileQLearning(kappa, selector == "z_selector", is_implicit=True)
        return made(online, target, transitions(g))

    return loss


def transitions(g):
    return Transitions(0, g["a_tm1"], g["r_t"], g["discount_t"], 1)


CASES = {
    "q_learning": ("q_tm1", expected(False)),
    "double_q_learning": ("q_tm1", expected(True)),
    "categorical": ("logits_tm1", categorical(False)),
    "categorical_double": ("logits_tm1", categorical(True)),
    "quantile": ("z_tm1", quantile(1.0, "z_t")),
    "quantile_double": ("z_tm1", quantile(1.0, "z_selector")),
    "quantile_kappa_0": ("z_tm1", quantile(0.0, "z_t")),
}


@pytest.mark.parametrize("jit_compile", [False, *marks.thorough(True)])
@pytest.mark.parametrize("name", CASES)
def test_loss_and_its_gradient_equal_those_of_rlax(of_rlax, name, jit_compile):
    by, function = CASES[name]

    @tf.function(jit_compile=jit_compile, autograph=False)
    def differentiated(x, given):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = function(x, given).loss
        return loss, tape.gradient(loss, x)

    for seed in range(rlax_worker.NUM_SEEDS):
        given = {key: tf.constant(value) for key, value in rlax_worker.inputs(seed).items()}
        loss, gradient = differentiated(given[by], given)
        np.testing.assert_allclose(loss, of_rlax[f"{name}/{seed}/loss"], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(gradient, of_rlax[f"{name}/{seed}/gradient"], rtol=1e-5, atol=1e-5)

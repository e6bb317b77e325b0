"""Learning: the defaults solve CartPole and a chain, a policy that has not learned passes neither bar."""

import numpy as np
import pytest

from dqn_tf.evaluation import evaluator
from tests import making, marks, runs

CHAIN = "tests.environments:Chain-v0"
BARS = {"CartPole-v1": 475.0, CHAIN: 1.0}


def summary_of(logdir, *argv):
    process = runs.command(*argv, f"--logdir={logdir}")
    assert process.returncode == 0, process.stderr
    return runs.read_json(logdir / "summary.json")


@pytest.mark.parametrize("seed", [0, *marks.soak(1)])
def test_default_configuration_solves_cartpole(tmp_path, seed):
    summary = summary_of(tmp_path, f"--seed={seed}")
    assert summary["eval_return_mean"] >= BARS["CartPole-v1"] == summary["threshold"]
    assert (summary["env"], summary["eval_episodes"]) == ("CartPole-v1", 100)
    assert summary["env_steps"] <= 50_000
    assert summary["threshold_env_steps"] <= summary["env_steps"]
    assert 0 < summary["threshold_seconds"] < summary["wall_seconds"]


@pytest.mark.thorough
def test_default_settings_open_the_chain(tmp_path):
    summary = summary_of(tmp_path, f"--env={CHAIN}", "--train_env_steps=6000", "--eval_period=2000")
    # The return of each of the 100 episodes is 1, the largest that there is.
    assert (summary["eval_return_mean"], summary["eval_return_std"]) == (BARS[CHAIN], 0.0)


class RandomPolicy:
    """Values drawn anew for every observation: each action is the greatest as often."""

    def __init__(self):
        self._generator = np.random.default_rng(0)

    def load(self, weights):
        raise AssertionError("an evaluator evaluates the policy as it is")

    def values(self, observation):
        return self._generator.random((len(observation), 2)).astype(np.float32)


def mean_return(env_id, policy):
    made = evaluator.Evaluator(making.environments(env_id), 100, 1000)
    returns = made.evaluate(policy, 0)
    made.close()
    return returns.mean()


@pytest.mark.parametrize("env_id", BARS)
def test_random_policy_fails_the_same_bar(env_id):
    assert mean_return(env_id, RandomPolicy()) < BARS[env_id] / 2


@pytest.mark.parametrize("env_id", BARS)
def test_network_that_has_not_learned_fails_the_same_bar(logical_cpus, env_id):
    from dqn_tf.agent import architecture, q_network
    from dqn_tf.config import settings

    network = architecture.MLP.build(making.environments(env_id).describe(), settings.build({"seed": 0}))
    assert mean_return(env_id, q_network.NetworkPolicy(network, lambda outputs: outputs)) < BARS[env_id] / 2

"""20 updates of networks and losses of a user's own under any placement; as a script one process of two workers.

    python -m tests.distributed.own_worker OUT INDEX ADDRESS ADDRESS

writes what came out of each of CASES to OUT, an .npz.
"""

import signal
import sys

import numpy as np

from dqn_tf.agent import architecture, learner, q_network
from dqn_tf.cluster import topology
from dqn_tf.config import settings
from dqn_tf.distribution import reducer, strategy
from dqn_tf.experience import replay
from tests import making
from tests.distributed import own_code, parity_worker

# Name: network, loss, hidden units. Of the second layer of 96 units two workers send factors, where they can.
CASES = {
    "dropout": ("dropout", "huber", (96, 96)),
    "running_mean": ("running_mean", "huber", ()),
    "batch_norm": ("batch_norm", "huber", ()),
    "frozen": ("frozen", "huber", ()),
    "dueling": ("dueling", "huber", (96, 96)),
    "regularized": ("regularized", "huber", ()),
    "punished": ("punished", "huber", ()),
    "spatial_dropout": ("spatial_dropout", "huber", ()),
    "residual": ("mlp", "residual", (96, 96)),
    "expected_sarsa": ("mlp", "expected_sarsa", (96, 96)),
    "twice": ("mlp", "twice", (96, 96)),
    "log_cosh": ("mlp", "log_cosh", (16, 8)),
}


def named(name, ready):
    """Returns what a flag says for one of the program's own, or one of own_code."""
    return name if name in ready else f"{own_code.__name__}:{name}"


def make(placement, case, jit_compile=False, **values):
    """Returns the Learner of a case."""
    network, loss, hidden_units = CASES[case]
    loss, network = named(loss, ("huber",)), named(network, ("mlp",))
    given = dict(learning_rate=0.003, learning_rate_schedule="constant", target_update_rate=0.1, clip_norm=1.0)
    config = settings.build({**given, "network": network, "loss": loss, "hidden_units": hidden_units, **values})
    spec = making.spec((4,), np.float32, 3)
    maker = q_network.QNetwork(architecture.choose(network, spec), spec, config)
    shared = reducer.GradientSum(placement)
    size, count = parity_worker.BATCH_SIZE, parity_worker.NUM_UPDATES
    return learner.Learner(shared, maker.build, maker.loss(), config.learning, size, count, jit_compile)


def train(placement, case, num_calls=2, **values):
    """Makes 20 updates; returns the arrays of the state by name, metrics [4], and the priorities <float32>[20, b]."""
    made, metrics, priorities = make(placement, case, **values), [], []
    for call in parity_worker._split(parity_worker._batches(), num_calls):
        part = parity_worker.part_of(call, placement)
        sample = replay.Sample(part, np.ones(part.r_t.shape, np.float32), np.zeros(part.r_t.shape, np.int64))
        means, priority = made.update(sample)
        metrics.append(means)
        priorities.append(priority)
    return {**state(made), "metrics": np.mean(metrics, axis=0), "priorities": np.concatenate(priorities)}


def state(made):
    """Returns the arrays of a Learner's weights and target, by name."""
    arrays = {"network": made.weights(), "target": made.target.get_weights()}
    return {f"{name}/{i}": array for name, part in arrays.items() for i, array in enumerate(part)}


def _main(path, index, *addresses):
    signal.alarm(450)  # ends this process, should the test not be there to do it
    placement = strategy.create("multiworker", 0, topology.Topology(tuple(addresses), int(index), False, "the test"))
    found = {f"{case}/{name}": array for case in CASES for name, array in train(placement, case).items()}
    np.savez(path, **found)


if __name__ == "__main__":
    _main(*sys.argv[1:])

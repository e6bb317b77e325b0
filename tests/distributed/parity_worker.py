"""The same 20 updates under any placement; as a script one process of the parity test.

    python -m tests.distributed.parity_worker OUT mirrored NUM_REPLICAS
    python -m tests.distributed.parity_worker OUT workers INDEX ADDRESS ADDRESS
    python -m tests.distributed.parity_worker OUT chief_and_worker INDEX ADDRESS ADDRESS

writes what came out to OUT, an .npz, by ways of making them: created; plain, factored, bfloat16 and averaged; compiled.
"""

import signal
import sys
import time

import numpy as np
import tensorflow as tf

from dqn_tf.cluster import topology
from dqn_tf.config import schema
from dqn_tf.distribution import averaging, reducer, strategy
from dqn_tf.experience import accumulator, replay
from tests import making

NUM_UPDATES = 20
BATCH_SIZE = 16
AVERAGE_PERIOD = 5
# Some gradients are longer than clip_norm and some shorter. Where all are, or none, Adam hides a wrong division: it
# takes the same steps with a gradient twice as long.
AGENT = schema.Learning(
    optimizer="adam",
    learning_rate=0.01,
    learning_rate_schedule="constant",
    double_q=True,
    loss="huber",
    clip_norm=0.35,
    target_update_period=0,
    target_update_rate=0.1,
)


SMALL, LARGE = (16, 8), (96, 96)  # hidden units; of the second layer of LARGE two workers send factors


def train(
    placement,
    *,
    jit_compile=False,
    num_calls=2,
    reducer_class=reducer.GradientSum,
    batch_size=BATCH_SIZE,
    hidden_units=SMALL,
    wire="float32",
):
    """Makes NUM_UPDATES updates and returns the arrays that came out, by name; `metrics` is [num_calls, 4]."""
    shared = reducer_class(placement, wire)
    made = making.learner_with(shared, _builder(hidden_units), AGENT, batch_size, NUM_UPDATES, jit_compile)
    return _outcome(made, shared.num_sent, [_update(made, call, placement) for call in _split(_batches(), num_calls)])


def train_averaged(placement):
    """Makes NUM_UPDATES updates with averages in between, in two calls; returns what came out as `train` does."""
    shared = averaging.Averaging(placement, AVERAGE_PERIOD)
    made = making.learner_with(shared, _builder(SMALL), AGENT, BATCH_SIZE, NUM_UPDATES)
    return _outcome(made, shared.num_sent, [_update(made, call, placement) for call in _split(_batches(), 2)])


def train_averaged_by_hand():
    """Returns the arrays of the state after the same updates by two learners, whose states are averaged here."""
    workers = [
        strategy.Placement(tf.distribute.get_strategy(), 2, index, 1) for index in range(2)
    ]  # only to take the parts of the batch
    alone = strategy.Placement(tf.distribute.get_strategy(), 1, 0, 1)
    learners = [
        making.learner_with(reducer.GradientSum(alone), _builder(SMALL), AGENT, BATCH_SIZE // 2, NUM_UPDATES)
        for _ in workers
    ]
    for call in _split(_batches(), NUM_UPDATES // AVERAGE_PERIOD):
        for made, worker in zip(learners, workers, strict=True):
            _update(made, call, worker)
        for copies in zip(*map(_state, learners), strict=True):
            mean = np.mean([copy.numpy() for copy in copies], axis=0, dtype=np.float32)
            for copy in copies:
                copy.assign(mean)
    return _outcome(learners[0], 0, [])


def _state(made):
    variables = (*made.network.variables, *made.target.variables, *made.optimizer.variables)
    return [variable for variable in variables if "float" in str(variable.dtype)]


def _builder(hidden_units):
    def build():
        network = making.network("mlp", (4,), np.float32, 3, hidden_units=hidden_units, activation="relu")
        generator, size = np.random.default_rng(1), 1.6 / hidden_units[0] ** 0.5
        network.set_weights([generator.normal(0, size, weight.shape) for weight in network.weights])
        return network

    return build


def _outcome(made, num_sent, metrics):
    found = {"metrics": np.array(metrics), "num_traces": np.int64(made.num_traces), "num_sent": num_sent}
    for name, arrays in (
        ("network", made.weights()),
        ("target", made.target.get_weights()),
        ("optimizer", [variable.numpy() for variable in made.optimizer.variables]),
    ):
        found.update({f"{name}/{i}": array for i, array in enumerate(arrays)})
    return found


def _batches():
    """Returns the Transitions [NUM_UPDATES, BATCH_SIZE, ...] of the whole run."""
    generator = np.random.default_rng(0)
    shape = (NUM_UPDATES, BATCH_SIZE)
    return accumulator.Transitions(
        generator.normal(size=(*shape, 4)).astype(np.float32),
        generator.integers(3, size=shape, dtype=np.int32),
        generator.normal(size=shape).astype(np.float32),
        generator.choice(np.float32([0, 0.9]), size=shape),
        generator.normal(size=(*shape, 4)).astype(np.float32),
    )


def _split(batches, num_calls):
    columns = (np.split(column, num_calls) for column in batches)
    return [accumulator.Transitions(*call) for call in zip(*columns, strict=True)]


def _update(made, batches, placement):
    """Makes updates from the part of the worker of `placement`, and returns their metrics."""
    return made.update(replay.Sample(part_of(batches, placement)))[0]


def part_of(batches, placement):
    """Returns the part of the worker of `placement`."""
    count, index = placement.num_workers, placement.worker_index
    return accumulator.Transitions(*(np.split(column, count, axis=1)[index] for column in batches))


def rows_of(worker, count):
    """Returns <float64>[count, 2] rows that tell their worker and their place."""
    return np.stack([np.full(count, worker), np.arange(count) + 0.25], axis=-1)


# Rows of worker 0 and of worker 1 in each gather. Blocks are of 128 rows.
GATHERS = ((2, 3), (0, 2), (1, 0), (0, 0), (128, 1), (300, 5), (256, 257))


def _gather_and_wait(placement):
    """Returns what each gather gave, and when this worker came to the barrier and left it; worker 1 comes late."""
    index, found = placement.worker_index, {}
    for counts in GATHERS:
        found[f"gather/{counts}"] = placement.gather(rows_of(index, counts[index]))
    found["gather/of integers"] = placement.gather(np.array([[2**40 + index]]))
    time.sleep(0.5 * index)
    came = time.monotonic()  # one clock for all processes of a machine
    placement.barrier()
    return {**found, "barrier": np.array([came, time.monotonic()])}


def _main(path, name, *arguments):
    signal.alarm(450)  # ends this process, should the test not be there to do it
    if name == "mirrored":
        found = {"created": train(strategy.create("mirrored", int(arguments[0]), None))}
    else:
        index, *addresses = arguments
        has_chief = name == "chief_and_worker"
        cluster = topology.Topology(tuple(addresses), int(index), has_chief, "the test")
        placement = strategy.create("multiworker", 0, cluster)
        if has_chief:
            found = {"compiled": train(placement, jit_compile=True)}
        else:
            found = {
                "plain": train(placement),
                "factored": train(placement, hidden_units=LARGE),
                "bfloat16": train(placement, hidden_units=LARGE, wire="bfloat16"),
                "averaged": train_averaged(placement),
            }
        found["told"] = _gather_and_wait(placement)
    np.savez(path, **{f"{way} {name}": array for way, arrays in found.items() for name, array in arrays.items()})


if __name__ == "__main__":
    _main(*sys.argv[1:])

"""The strategy changes the speed, never the algorithm: the same 20 updates, whatever the number of replicas.

This process runs 1, 2 and 4 replicas. Beside it run two workers of a MultiWorkerMirroredStrategy on the loopback device
and, with --all, a MirroredStrategy as `strategy.create` makes it, and a chief and a worker, with compiled gradients.
"""

import contextlib
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from dqn_tf.agent import update
from dqn_tf.distribution import reducer
from tests import marks, runs
from tests.distributed import parity_worker
from tests.placements import replicas

ROOT = pathlib.Path(__file__).parents[2]
SECONDS = 400  # for all processes together
# Sums of float32 in another order differ by a few times 6e-8 of their largest terms, and 20 updates carry that on.
TOLERANCE = 1e-6
# A compiled loop has Keras's Adam, the others TensorFlow's kernel, which takes 1 - 0.999 in float32: 0.00100005. So the
# second moments differ by up to 5e-5 of themselves, and the weights, by way of their root, by less.
TOLERANCE_COMPILED = 5e-5
GRADIENT_NORM = update.METRICS.index("gradient_norm")


@contextlib.contextmanager
def started(directory, commands, module=parity_worker.__name__):
    """Starts a worker for each of the `commands`, by name, and ends those that are left."""
    environment = {key: value for key, value in os.environ.items() if key != "TF_CONFIG"}
    environment["CUDA_VISIBLE_DEVICES"] = "-1"
    processes = {}
    try:
        for name, arguments in commands.items():
            with (directory / f"{name}.log").open("w") as log:
                processes[name] = subprocess.Popen(
                    [sys.executable, "-m", module, str(directory / f"{name}.npz"), *arguments],
                    cwd=ROOT,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
        yield processes
    finally:
        for process in processes.values():
            process.kill()
        for process in processes.values():
            process.wait()


def wait_for(processes, directory):
    """Waits until all have ended well; fails with their output where one has not, at once or after SECONDS."""
    deadline = time.monotonic() + SECONDS
    while any(process.poll() is None for process in processes.values()):
        if any(process.poll() for process in processes.values()) or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    codes = {name: process.poll() for name, process in processes.items()}
    logs = "".join(f"\n--- {name}:\n{(directory / f'{name}.log').read_text()[-3000:]}" for name in processes)
    assert set(codes.values()) <= {0}, f"exit codes {codes}{logs}"


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory, request):
    """Returns the arrays of each way to make the updates, by its name and, of several processes, the number of one.

    Those of other processes are made with --all only.
    """
    directory = tmp_path_factory.mktemp("parity")
    ports = runs.addresses(4)
    commands = {
        "": ["mirrored", "2"],
        "0": ["workers", "0", *ports[:2]],
        "1": ["workers", "1", *ports[:2]],
        "of chief 0": ["chief_and_worker", "0", *ports[2:]],
        "of chief 1": ["chief_and_worker", "1", *ports[2:]],
    }
    commands = commands if request.config.getoption("--all") else {}
    with started(directory, commands) as processes:
        found = {
            "one": parity_worker.train(replicas(1)),
            "one_compiled": parity_worker.train(replicas(1), jit_compile=True),
            "two": parity_worker.train(replicas(2)),
            "two_compiled": parity_worker.train(replicas(2), jit_compile=True),
            "four": parity_worker.train(replicas(4)),
            "one_large": parity_worker.train(replicas(1), hidden_units=parity_worker.LARGE),
        }
        wait_for(processes, directory)
    for process in commands:
        with np.load(directory / f"{process}.npz") as file:
            for key in file.files:
                way, name = key.split(" ", 1)
                found.setdefault(f"{way} {process}".strip(), {})[name] = file[key]
    return found


def assert_same_outcome(actual, expected, tolerance=TOLERANCE):
    names = [name for name in expected if name.startswith(("network/", "target/", "optimizer/"))]
    # 3 layers of kernel and bias; Adam has two slots for each, its iterations and its learning rate.
    assert len(names) == 6 + 6 + 2 * 6 + 2
    for name in [*names, "metrics"]:
        assert actual[name].shape == expected[name].shape, name
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(actual[name], expected[name], rtol=0, atol=tolerance * scale, err_msg=name)


WAYS = [
    *("one_compiled", "two", "two_compiled", "four"),
    *marks.thorough("plain 0", "plain 1", "created", "compiled of chief 0", "compiled of chief 1"),
]
SAME = [(f"{way} 0", f"{way} 1") for way in ("plain", "factored", "bfloat16", "averaged")]
WORKERS = [("told 0", "told 1"), ("told of chief 0", "told of chief 1")]


@pytest.mark.parametrize("way", WAYS)
def test_updates_when_made_by_several_replicas_equal_those_of_one(outcomes, way):
    tolerance = TOLERANCE_COMPILED if way == "one_compiled" else TOLERANCE
    assert_same_outcome(outcomes[way], outcomes["one"], tolerance)


@pytest.mark.thorough
@pytest.mark.parametrize("way", ("factored 0", "factored 1"))
def test_updates_when_workers_send_factors_equal_those_of_one(outcomes, way):
    assert_same_outcome(outcomes[way], outcomes["one_large"])


@pytest.mark.thorough
def test_all_reduce_with_factors_sums_others_and_a_row_of_both_for_each_transition(outcomes):
    # 4 x 96 + 96 + 96 + 96 x 3 + 3 others, 16 transitions of 96 + 96, three metrics of two workers in two parts each.
    assert outcomes["factored 0"]["num_sent"] == 867 + 16 * 192 + 12
    # 4 x 16 + 16 + 16 x 8 + 8 + 8 x 3 + 3: 16 rows of 16 + 8 would be more.
    assert outcomes["plain 0"]["num_sent"] == 243 + 12
    assert outcomes["one"]["num_sent"] == 0


@pytest.mark.thorough
def test_updates_when_workers_average_equal_those_of_two_learners_averaged_by_hand(outcomes):
    by_hand = parity_worker.train_averaged_by_hand()
    metrics = outcomes["averaged 0"]["metrics"]
    assert metrics.shape == (2, 4)
    assert_same_outcome(outcomes["averaged 0"], {**by_hand, "metrics": metrics})
    # 243 weights, as many of the target and of each moment, four metrics; not the same as sums in every update.
    assert outcomes["averaged 0"]["num_sent"] == 4 * 243 + 4 + 1
    assert np.abs(outcomes["averaged 0"]["network/0"] - outcomes["one"]["network/0"]).max() > 1000 * TOLERANCE


@pytest.mark.thorough
def test_updates_when_gradients_are_sent_in_bfloat16_are_near_and_not_equal(outcomes):
    # A number of 8 bits is off by 2^-9 of itself at most. Adam's step is 0.01, and 20 of them may go astray where a
    # gradient is about 0, so weights are compared in the mean.
    for name in ("network/0", "network/2", "network/4"):
        error = np.abs(outcomes["bfloat16 0"][name] - outcomes["one_large"][name])
        assert 0 < error.mean() < 0.005, name
    metrics = (outcomes[name]["metrics"] for name in ("bfloat16 0", "one_large"))
    np.testing.assert_allclose(*metrics, rtol=0.05, atol=0.02)


def test_updates_when_called_twice_are_traced_once(outcomes):
    found = {way: int(arrays["num_traces"]) for way, arrays in outcomes.items() if "num_traces" in arrays}
    assert set(found.values()) == {1}, found


@pytest.mark.thorough
@pytest.mark.parametrize(("first", "second"), SAME)
def test_updates_when_made_by_two_workers_leave_both_with_the_same_bits(outcomes, first, second):
    for name, array in outcomes[first].items():
        if name.startswith(("network", "target", "optimizer", "metrics")):
            np.testing.assert_array_equal(array, outcomes[second][name], err_msg=name)


def test_parity_is_of_updates_that_move_the_weights_and_clip_some_gradients(outcomes):
    found = parity_worker.train(replicas(1), num_calls=parity_worker.NUM_UPDATES)
    is_clipped = found["metrics"][:, GRADIENT_NORM] > parity_worker.AGENT.clip_norm
    assert 5 <= is_clipped.sum() <= parity_worker.NUM_UPDATES - 5
    assert np.abs(found["network/0"] - found["target/0"]).max() > 0.01
    assert_same_outcome({**found, "metrics": outcomes["one"]["metrics"]}, outcomes["one"])


class ClipPerReplica(reducer.GradientSum):
    """Wrong: clips before the sum."""

    def pack(self, gradients, sums):
        gradients, pair = gradients
        return super().pack((tf.clip_by_global_norm(gradients, parity_worker.AGENT.clip_norm)[0], pair), sums)


class NoSum(reducer.GradientSum):
    """Wrong: every replica's part is that of the first."""

    def pack(self, gradients, sums):
        gradients, pair = gradients
        factor = tf.where(self.placement.replica() == 0, 2.0, 0.0)
        return super().pack(([factor * gradient for gradient in gradients], pair), factor * sums)


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": parity_worker.BATCH_SIZE // 2},  # divides by a replica's part of the batch, then sums
        {"reducer_class": ClipPerReplica},
        {"reducer_class": NoSum},
    ],
)
def test_parity_when_the_learner_is_wrong_is_broken(outcomes, wrong):
    wrong = parity_worker.train(replicas(2), **wrong)
    for name in ("network/0", "target/0", "metrics"):
        assert np.abs(wrong[name] - outcomes["one"][name]).max() > 1000 * TOLERANCE, name
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_same_outcome(wrong, outcomes["one"])


@pytest.mark.thorough
@pytest.mark.parametrize("workers", WORKERS)
def test_gather_when_workers_have_other_numbers_of_rows_gives_all_in_order_of_worker(outcomes, workers):
    for worker in workers:
        for counts in parity_worker.GATHERS:
            gathered = outcomes[worker][f"gather/{counts}"]
            assert gathered.dtype == np.float64
            expected = np.concatenate([parity_worker.rows_of(0, counts[0]), parity_worker.rows_of(1, counts[1])])
            np.testing.assert_array_equal(gathered, expected)
        np.testing.assert_array_equal(outcomes[worker]["gather/of integers"], [[2**40], [2**40 + 1]])


def test_gather_when_there_is_one_worker_gives_its_rows():
    rows = np.arange(6.0).reshape(3, 2)
    for count in (1, 2):
        np.testing.assert_array_equal(replicas(count).gather(rows), rows)


@pytest.mark.thorough
@pytest.mark.parametrize("workers", WORKERS)
def test_barrier_when_a_worker_comes_late_holds_the_other_until_then(outcomes, workers):
    came, left = np.transpose([outcomes[worker]["barrier"] for worker in workers])
    assert came[1] > came[0]
    assert left.min() >= came.max()

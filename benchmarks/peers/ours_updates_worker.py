"""Measures the learner's update of the network for images, in one process or in two, each on a core of its own.

    python benchmarks/peers/ours_updates_worker.py '{"num_workers": 2, "worker_batch_size": 32}'

The batch is that of a worker, so two workers make twice the samples in an update. Where only one core may be used
both would share it, which measures nothing: it is refused, unless "may_share" is true, to try this out. "settings" may
hold settings of dqn_tf by their flags' names, such as {"wire_precision": "bfloat16"} where there is one; they reach
the learner, the network and the placement here. With "apart" the workers say nothing to each other: what the cores
themselves allow, which share memory and clock. Linux only.
"""

import json
import os
import pathlib
import statistics
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
OBSERVATION_SHAPE, NUM_ACTIONS = (4, 84, 84), 6
SETTINGS = {"double_q": False, "n_step": 1, "target_update_period": 500, "clip_norm": 0.0}


def pin() -> int:
    """Puts this process on the core of its own index, and returns it: TensorFlow's threads then know no other."""
    index = json.loads(os.environ.get("TF_CONFIG", '{"task": {"index": 0}}'))["task"]["index"]
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[index % len(cores)]})
    return cores[index % len(cores)]


def make_batches(generator, num_updates: int, batch_size: int):
    """Returns random transitions of leading shape [num_updates, batch_size]."""
    import numpy as np

    from dqn_tf.experience.accumulator import Transitions

    shape = (num_updates, batch_size)
    return Transitions(
        generator.integers(256, size=(*shape, *OBSERVATION_SHAPE), dtype=np.uint8),
        generator.integers(NUM_ACTIONS, size=shape, dtype=np.int32),
        generator.normal(size=shape).astype(np.float32),
        np.full(shape, 0.99, np.float32),
        generator.integers(256, size=(*shape, *OBSERVATION_SHAPE), dtype=np.uint8),
    )


def make_learner(placement, config, batch_size: int):
    """Returns the run's own Learner of the network for images; `batch_size` is that of all workers."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import learners

    observations = (OBSERVATION_SHAPE, "uint8", NUM_ACTIONS)
    return learners.make(placement, "nature_cnn", observations, config, batch_size, False)[0]


def measure(given: dict, core: int) -> None:
    """Prints, on the chief, milliseconds of an update and samples per second of all workers."""
    import numpy as np

    from dqn_tf.agent.architecture import NATURE_CNN
    from dqn_tf.cluster import topology
    from dqn_tf.config import settings
    from dqn_tf.distribution import strategy
    from dqn_tf.experience.replay import Sample
    from dqn_tf.training import threads

    config = settings.build({**SETTINGS, **given.get("settings", {})})
    apart = given.get("apart", False)
    together = given["num_workers"] > 1 and not apart
    chosen = threads.choose(config.hardware, NATURE_CNN, 1, 1, together)
    cluster = topology.resolve(os.environ)
    name = "multiworker" if together else "default"
    placement = strategy.create(name, 0, cluster, chosen.learner, chosen.operations)
    batch_size = given["worker_batch_size"] * placement.num_workers
    learner = make_learner(placement, config, batch_size)
    num_updates, milliseconds = given.get("updates_per_call", 8), []
    generator = np.random.default_rng(placement.worker_index)
    sample = Sample(make_batches(generator, num_updates, given["worker_batch_size"]))
    for _ in range(1 + given.get("calls", 5)):  # the first traces
        begin = time.perf_counter()
        learner.update(sample)
        milliseconds.append(1e3 * (time.perf_counter() - begin) / num_updates)
    cores = placement.gather(np.array([[core]], np.float64))[:, 0]
    if cluster is None or cluster.index == 0:
        median = statistics.median(milliseconds[1:])
        if apart:  # the others are as fast
            batch_size *= given["num_workers"]
        figures = {"ms an update": median, "samples/s": 1e3 * batch_size / median, "cores used": len({*cores})}
        print(json.dumps(figures), flush=True)


def main() -> int:
    """Starts the local cluster where there are to be two workers and none is named yet."""
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from dqn_tf.cluster import launcher

    given = json.loads(sys.argv[1])
    launcher.follow_parent()
    num_cores = len(os.sched_getaffinity(0))
    if num_cores < given["num_workers"] and not given.get("may_share"):
        print(f"{given['num_workers']} workers need a core each, only {num_cores} may be used", file=sys.stderr)
        return 2
    if given["num_workers"] > 1 and "TF_CONFIG" not in os.environ:
        return launcher.run([sys.executable, *sys.argv], given["num_workers"])
    measure(given, pin())
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Measures start-up, the cost of an update and the whole loop at the setting many comparisons use.

    python benchmarks/throughput.py [--repeats=5] [--json=FILE]

CartPole-v1, 64-64, batch 32, one update per env step, 16 environments (--preset=classic). Every figure is the median
of the repeats, with their range. Nothing else should run on the machine meanwhile.
"""

import argparse
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

UPDATES_PER_CALL, CALLS, WARM_UP_CALLS, BATCH_SIZE = 160, 20, 3, 32
RUN_FLAGS = ["--preset=classic", "--train_env_steps=60000", "--eval_period=0", "--checkpoint_period=0"]
FINAL_FLAGS = ["--final_eval_episodes=1"]


def measure_updates(strategy_name: str) -> None:
    """Prints the microseconds of an update, of CALLS calls of the learner, as JSON; the part of a child process."""
    import learners
    import numpy as np

    from dqn_tf.cluster import launcher, topology
    from dqn_tf.config import settings
    from dqn_tf.config.presets import PRESETS
    from dqn_tf.distribution import strategy
    from dqn_tf.experience.replay import Sample

    launcher.follow_parent()
    config = settings.build(dict(PRESETS["classic"]))
    placement = strategy.create(strategy_name, 0, topology.resolve(os.environ), 1, int(strategy_name == "multiworker"))
    one_replica = placement.num_replicas == 1
    made, _ = learners.make(placement, "mlp", ((4,), "float32", 2), config, BATCH_SIZE, one_replica)
    generator = np.random.default_rng(placement.worker_index)
    shape = (UPDATES_PER_CALL, BATCH_SIZE // placement.num_workers)
    batches = learners.random_transitions(generator, shape, ((4,), "float32", 2))
    seconds = []
    for _ in range(WARM_UP_CALLS + CALLS):
        begin = time.perf_counter()
        made.update(Sample(batches))
        seconds.append(time.perf_counter() - begin)
    placement.barrier()
    if placement.is_chief:
        print(json.dumps([1e6 * s / UPDATES_PER_CALL for s in seconds[WARM_UP_CALLS:]]))


def update_microseconds(strategy_name: str) -> float:
    """Returns the median cost of an update, from processes of their own."""
    command = [sys.executable, __file__, f"--measure={strategy_name}"]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
    return statistics.median(json.loads(output[output.index("[") :].removeprefix("[worker 0] ")))


def train(*flags: str) -> tuple[dict, str]:
    """Returns summary.json and the log of one run of train.py."""
    with tempfile.TemporaryDirectory() as logdir:
        command = [sys.executable, str(ROOT / "train.py"), f"--logdir={logdir}/run", *flags]
        run = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
        return json.loads(pathlib.Path(logdir, "run", "summary.json").read_text()), run.stderr


def loop_figures(*flags: str) -> dict[str, float]:
    """Returns env steps per second of the whole loop and the seconds from the command to the first update."""
    summary, log = train(*RUN_FLAGS, *FINAL_FLAGS, *flags)
    first = float(re.search(r"first update: ([\d.]+) s", log).group(1))
    return {"rate": summary["env_steps_per_second"], "start": first}


def machine() -> dict[str, str]:
    """Returns what the figures depend on."""
    from dqn_tf.persistence import versions

    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return {"cpu": cpu.group(1) if cpu else platform.processor(), "cores": str(os.cpu_count()), **versions.versions()}


def main() -> None:
    """Measures in turns, A B C A B C, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", help="write all figures to this file")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure == "multiworker" and "TF_CONFIG" not in os.environ:
        from dqn_tf.cluster import launcher

        sys.exit(launcher.run([sys.executable, *sys.argv], 2))
    if arguments.measure:
        measure_updates(arguments.measure)
        return
    figures: dict[str, list[float]] = {}
    for repeat in range(arguments.repeats):
        print(f"repeat {repeat + 1} of {arguments.repeats}", file=sys.stderr)
        one = loop_figures()
        two = loop_figures("--strategy=multiworker", "--train_env_steps=10000")
        for name, value in (
            ("whole loop, one process, env steps/s", one["rate"]),
            ("whole loop, two local workers, env steps/s", two["rate"]),
            ("update in a fused call, XLA, us", update_microseconds("default")),
            ("update, two local workers, us", update_microseconds("multiworker")),
            ("start-up to the first update, one process, s", one["start"]),
            ("start-up to the first update, two local workers, s", two["start"]),
        ):
            figures.setdefault(name, []).append(value)
    about = machine()
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    print("\n| figure | median | range |\n|---|---|---|")
    for name, values in figures.items():
        print(f"| {name} | {statistics.median(values):,.1f} | {min(values):,.1f} to {max(values):,.1f} |")
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps({"machine": about, "figures": figures}, indent=2))


if __name__ == "__main__":
    main()

"""Measures the all-reduce of an update between local processes and predicts how far more workers would pay.

    python benchmarks/scaling.py [--repeats=5] [--workers=2] [--json=FILE] [--plot=FILE.png] [--quick]

Measured, each worker on a core of its own where there are enough: the packed all-reduce on loopback against the size
of the message, and an update against the batch, alone and with all workers. All else is predicted from these, by the
model in docs/scaling.md. Figures are medians over the repeats of each one's median, with their range.
"""

import argparse
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from prediction import GIGABITS, SHOWN, TARGET, WORKERS, fit_line, predict, ring_step  # noqa: E402

from dqn_tf.jobs.cost.scaling_model import MESSAGES, Line  # noqa: E402

# Kind, observation shape, its dtype, actions, updates in a call: a default Atari agent, and CartPole's.
NETWORKS = {"Nature CNN": ("nature_cnn", (4, 84, 84), "uint8", 6, 2), "128-128 MLP": ("mlp", (4,), "float32", 2, 40)}
SIZES, FIT_SIZE = [4**k for k in range(1, 14)], 4**12  # bytes, 4 to 64 Mi; the fit is for messages up to 16 Mi
BATCHES = [32, 64, 128, 256]  # of each worker
CALLS, WARM_UP_CALLS = 5, 2


def measure(kind: str, arguments: argparse.Namespace) -> None:
    """Prints {figure: {x: [seconds, ...]}} as JSON on the chief; the part of a child process."""
    from dqn_tf.cluster import launcher, topology

    launcher.follow_parent()
    cluster = topology.resolve(os.environ) if arguments.workers > 1 else None
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) >= arguments.workers:  # before TensorFlow counts them
            os.sched_setaffinity(0, {cores[cluster.index if cluster else 0]})
    from dqn_tf.distribution import strategy

    placement = strategy.create("multiworker" if cluster else "default", 0, cluster, 1, 1)  # threads
    figures, batches = {}, BATCHES[::3] if arguments.quick else BATCHES
    who = f"{arguments.workers} workers" if cluster else "one process"
    if kind == "collective":
        count = placement.num_workers
        messages = {message.num_bytes(b * count, count) for message in MESSAGES.values() for b in BATCHES}
        sizes = {*(SIZES[::2] if arguments.quick else SIZES), *messages}
        figures["all-reduce"] = _collective(placement, sorted(sizes))
    elif not arguments.update_ms:
        figures[f"Nature CNN, {who}"] = {b: _updates(placement, "Nature CNN", b, False) for b in batches}
    if kind == "updates":
        figures[f"128-128 MLP, {who}"] = {b: _updates(placement, "128-128 MLP", b, False) for b in batches}
    if kind == "updates" and not cluster:
        figures["128-128 MLP, one process, XLA"] = {b: _updates(placement, "128-128 MLP", b, True) for b in batches}
    placement.barrier()
    if placement.is_chief:
        print(json.dumps(figures))


def _collective(placement, sizes):
    """Returns seconds of an all-reduce for each size, in turns; each waits for the last, as those of updates do."""
    import numpy as np
    import tensorflow as tf

    def loop(vector, count):
        for _ in tf.range(count):
            vector = placement.sum(placement.run(tf.identity, (vector,)))
        return vector[0]

    tf.get_logger().setLevel("ERROR")  # it is traced for each size, as it should be
    function, figures = tf.function(loop), {size: [] for size in sizes}
    for call in range(WARM_UP_CALLS + CALLS):
        for size in sizes:
            count = max(2, 100_000_000 // (size + 500_000))  # the same on all workers
            vector, number = tf.constant(np.zeros(size // 4, np.float32)), tf.constant(count)
            begin = time.perf_counter()
            function(vector, number).numpy()
            if call >= WARM_UP_CALLS:
                figures[size].append((time.perf_counter() - begin) / count)
    return figures


def _updates(placement, network, batch, xla):
    """Returns seconds of an update of `batch` transitions on each worker, for several calls of the learner."""
    import learners
    import numpy as np

    from dqn_tf.config import schema
    from dqn_tf.experience.accumulator import Transitions
    from dqn_tf.experience.replay import Sample

    kind, shape, dtype, num_actions, updates = NETWORKS[network]
    workers = placement.num_workers
    observations = (shape, dtype, num_actions)
    made, reducer = learners.make(placement, kind, observations, schema.Config(), batch * workers, xla)
    assert workers == 1 or 4 * reducer.num_sent == MESSAGES[network].num_bytes(batch * workers, workers)
    generator, lead = np.random.default_rng(placement.worker_index), (updates, batch)
    s_tm1, s_t = (generator.integers(256, size=(*lead, *shape)).astype(dtype) for _ in range(2))
    actions = generator.integers(num_actions, size=lead, dtype=np.int32)
    r_t, discount_t = generator.normal(size=lead).astype(np.float32), np.full(lead, 0.99, np.float32)
    sample, seconds = Sample(Transitions(s_tm1, actions, r_t, discount_t, s_t)), []
    for _ in range(WARM_UP_CALLS + CALLS):
        begin = time.perf_counter()
        made.update(sample)
        seconds.append((time.perf_counter() - begin) / updates)
    return seconds[WARM_UP_CALLS:]


def report(figures: dict[str, dict[int, list[list[float]]]], arguments: argparse.Namespace) -> None:
    """Prints the tables and writes the files that were asked for."""
    from throughput import machine

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    about = {**machine(), "cores used": cores, "command": shlex.join(["python", *sys.argv])}
    about["date"] = time.strftime("%Y-%m-%d")
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    medians = {name: {x: list(map(statistics.median, r)) for x, r in runs.items()} for name, runs in figures.items()}
    middles = {name: {x: statistics.median(m) for x, m in values.items()} for name, values in medians.items()}
    fit = fit_line({size: t for size, t in middles["all-reduce"].items() if size <= FIT_SIZE})
    step = ring_step(fit, arguments.workers)
    fits = {name: fit_line(values) for name, values in middles.items()}
    alone = {n: fits.get(f"{n}, one process") or fit_line(arguments.update_ms) for n in NETWORKS}
    print(f"\n| all-reduce of {arguments.workers}, bytes | median, ms | range, ms | fit, ms | MB/s |\n{'|---' * 5}|")
    for size, t in middles["all-reduce"].items():
        print(f"| {size:,} | {_ms(medians['all-reduce'][size])} | {1e3 * fit.at(size):,.3f} | {size / t / 1e6:,.3g} |")
    print(f"\nFit: {1e6 * fit.fixed:,.0f} us + {1e9 * fit.per_unit:.2f} ns a byte; a step {1e6 * step.fixed:,.0f} us.")
    print(f"\n| update | batch of each | median, ms | range, ms | fit or prediction, ms |\n{'|---' * 5}|")
    for name, values in middles.items():
        network, _, who = name.partition(", ")
        for batch in values if who else ():
            message, batch_of_all = MESSAGES[network], batch * arguments.workers
            num_bytes = message.num_bytes(batch_of_all, arguments.workers)
            together = message.work(alone[network], batch, batch_of_all) + fit.at(num_bytes)
            line = together if "workers" in who else fits[name].at(batch)
            print(f"| {name} | {batch} | {_ms(medians[name][batch])} | {1e3 * line:,.3f} |")
    single = {n: fits.get(f"{n}, one process, XLA", alone[n]) for n in MESSAGES}
    predictions = {}
    for n, message in MESSAGES.items():
        predictions[n] = predict(single[n], alone[n], step, message, arguments)
        columns = f"{' | '.join(map(str, SHOWN))} | {arguments.global_batch}/W | {TARGET:.0%}"
        print(f"\n| {n}, W | {' | '.join(f'{g}G: {columns}' for g in GIGABITS)} |")
        print("|---" * (1 + len(predictions[n][WORKERS[0]])) + "|")
        for workers, row in predictions[n].items():
            print(f"| {workers} | {' | '.join(map(_cell, row))} |")
    if arguments.json:
        everything = {"about": about, "seconds": figures, "all-reduce": fit, "alone": alone, "single": single}
        everything |= {"step": step, "predicted": predictions}  # as in dqn_tf/jobs/cost/measured.json
        pathlib.Path(arguments.json).write_text(json.dumps(everything, indent=1))
    if arguments.plot:
        draw(medians["all-reduce"], fit, predictions["Nature CNN"], arguments.plot)


def _ms(medians):
    return f"{1e3 * statistics.median(medians):,.3f} | {1e3 * min(medians):,.3f} to {1e3 * max(medians):,.3f}"


def _cell(value):
    return "none" if value is None else f"{value:,}" if isinstance(value, int) else f"{100 * value:.1f} %"


def draw(medians: dict[int, list[float]], fit: Line, predicted: dict[int, list], path: str) -> None:
    """Draws the all-reduce against its size with the fit, and the Nature CNN's weak scaling against workers."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(list(medians), [1e3 * statistics.median(m) for m in medians.values()], "o", label="measured, loopback")
    left.vlines(list(medians), *([1e3 * f(m) for m in medians.values()] for f in (min, max)))
    left.plot(list(medians), [1e3 * fit.at(size) for size in medians], label="fit")
    left.set(xscale="log", yscale="log", xlabel="bytes", ylabel="ms", title="All-reduce")
    for i, g in enumerate(GIGABITS):
        for j, style in enumerate(("--", "-")):
            values = [100 * row[i * len(row) // len(GIGABITS) + j] for row in predicted.values()]
            label = f"{g} Gbit/s, {SHOWN[j]} a worker"  # equal lines stay visible, the thin on the wide
            right.plot(list(predicted), values, style, color=f"C{i}", linewidth=5 - 2 * i, label=label)
    right.set(ylim=(0, 100), xlabel="workers", ylabel="efficiency, %", title="Nature CNN, weak scaling, predicted")
    right.set_xscale("log", base=2)
    _ = left.legend(), right.legend()
    figure.savefig(path)


def pairs(text: str) -> dict[int, float]:
    """Returns batch -> seconds from BATCH:MS,BATCH:MS."""
    costs = {int(batch): float(ms) / 1e3 for batch, ms in (pair.split(":") for pair in text.split(","))}
    if len(costs) < 2 or min(costs.values()) <= 0:
        raise ValueError
    return costs


def main() -> None:
    """Measures in turns, A B C A B C, and prints tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2, help="local processes that measure")
    parser.add_argument("--latency_us", type=float, default=50, help="of the predicted networks, for each ring step")
    parser.add_argument("--update_ms", type=pairs, help="a Nature CNN update, not measured: BATCH:MS,BATCH:MS[,...]")
    parser.add_argument("--global_batch", type=int, default=512, help="transitions of an update, strong scaling")
    parser.add_argument("--quick", action="store_true", help="one repeat of half the sizes and batches")
    parser.add_argument("--json", help="write all figures to this file")
    parser.add_argument("--plot", help="draw into this PNG file")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure and arguments.workers > 1 and "TF_CONFIG" not in os.environ:
        from dqn_tf.cluster import launcher

        sys.exit(launcher.run([sys.executable, *sys.argv], arguments.workers))
    if arguments.measure:
        return measure(arguments.measure, arguments)
    if arguments.workers < 2:
        parser.error("--workers must be at least 2: one has no collective.")
    figures: dict[str, dict[int, list[list[float]]]] = {}
    environ = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}  # all figures are of CPU cores
    for repeat in range(1 if arguments.quick else arguments.repeats):
        print(f"repeat {repeat + 1}", file=sys.stderr)
        for kind, workers in (("collective", arguments.workers), ("updates", 1), ("updates", arguments.workers)):
            command = [sys.executable, *sys.argv, f"--measure={kind}", f"--workers={workers}"]
            child = subprocess.run(command, env=environ, stdout=subprocess.PIPE, check=True, text=True, timeout=1200)
            for name, values in json.loads(child.stdout[child.stdout.index("{") :].splitlines()[0]).items():
                for x, seconds in values.items():
                    figures.setdefault(name, {}).setdefault(int(x), []).append(seconds)
    report(figures, arguments)


if __name__ == "__main__":
    main()

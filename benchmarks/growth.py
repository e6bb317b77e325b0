"""Measures what an update costs as batch, network and replay grow, and what a replay takes in memory; draws both.

    python benchmarks/growth.py [--json=FILE] [--plot=FILE.png] [--quick]

Updates are those of the learner under the default strategy with the threads that train.py would choose. Each figure
is the median of the calls, with their range. Nothing else should run on the machine meanwhile. Linux only.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

BATCHES = [16, 32, 64, 128, 256]
UNITS = [32, 64, 128, 256, 512]
CAPACITIES = {"mlp": [10_000, 100_000, 1_000_000], "nature_cnn": [10_000, 50_000, 100_000, 200_000]}
BATCH_SIZE = {"mlp": 64, "nature_cnn": 32}
UPDATES = {"mlp": 40, "nature_cnn": 10}
SHAPES = {"mlp": ((4,), "float32", 2), "nature_cnn": ((4, 84, 84), "uint8", 6)}
CALLS, WARM_UP_CALLS = 9, 2


def measure(kind: str, what: str, quick: bool) -> None:
    """Prints {x: [seconds of an update, ...]} as JSON, and of the replay also bytes; the part of a child process."""
    from dqn_tf.agent.architecture import ARCHITECTURES
    from dqn_tf.config.schema import Hardware
    from dqn_tf.process import hardware
    from dqn_tf.training import threads

    chosen = threads.choose(Hardware(), ARCHITECTURES[kind], hardware.num_cores(), 1, False)
    if ARCHITECTURES[kind].is_convolutional:
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    from dqn_tf.distribution import strategy

    placement = strategy.create("default", 0, None, chosen.learner, chosen.operations)
    if what == "replay":
        figures = _replay(placement, kind, CAPACITIES[kind][: 2 if quick else None])
    else:
        figures = {x: _updates(placement, kind, **{what: x}) for x in (BATCHES if what == "batch" else UNITS)}
    print(json.dumps(figures))


def _learner(placement, kind, batch, units):
    import learners

    from dqn_tf.config import settings

    config = settings.build({"double_q": False, "hidden_units": (units, units)})
    return learners.make(placement, kind, SHAPES[kind], config, batch, kind == "mlp")[0]


def _random(kind, lead):
    """Returns random transitions of leading shape `lead`."""
    import numpy as np

    from dqn_tf.experience.accumulator import Transitions

    shape, dtype, num_actions = SHAPES[kind]
    generator = np.random.default_rng(0)
    s_tm1, s_t = (generator.integers(256, size=(*lead, *shape)).astype(dtype) for _ in range(2))
    r_t, discount_t = generator.normal(size=lead).astype(np.float32), np.full(lead, 0.99, np.float32)
    return Transitions(s_tm1, generator.integers(num_actions, size=lead, dtype=np.int32), r_t, discount_t, s_t)


def _updates(placement, kind, batch=None, units=128):
    from dqn_tf.experience.replay import Sample

    batch = batch or BATCH_SIZE[kind]
    made, sample = _learner(placement, kind, batch, units), Sample(_random(kind, (UPDATES[kind], batch)))
    return _timed(lambda: made.update(sample), UPDATES[kind])


def _timed(function, count):
    seconds = []
    for _ in range(WARM_UP_CALLS + CALLS):
        begin = time.perf_counter()
        function()
        seconds.append((time.perf_counter() - begin) / count)
    return seconds[WARM_UP_CALLS:]


def _replay(placement, kind, capacities):
    """Returns, by capacity, seconds of sampling for an update, of sampling and updating, and bytes of a full replay."""
    import numpy as np
    from endurance import resident_bytes

    from dqn_tf.experience import frame_replay

    shape, dtype, _ = SHAPES[kind]
    batch, updates, figures = BATCH_SIZE[kind], UPDATES[kind], {}
    made = _learner(placement, kind, batch, 128)
    for capacity in capacities:
        before = resident_bytes(os.getpid())
        replay = frame_replay.create(capacity, shape, np.dtype(dtype), np.random.default_rng(0))
        for transitions in _episodes(kind, capacity):
            replay.add(transitions)
        grown = resident_bytes(os.getpid()) - before
        figures[capacity] = {
            "sample": _timed(lambda replay=replay: replay.sample(updates, batch), updates),
            "both": _timed(lambda replay=replay: made.update(replay.sample(updates, batch)), updates),
            "nbytes": replay.nbytes,
            "resident": grown,
        }
        del replay
    return figures


def _episodes(kind, count):
    """Yields transitions, `count` in all, of episodes of 500 steps; images are stacks of four successive frames."""
    import numpy as np

    from dqn_tf.experience.accumulator import Transitions

    length = 500
    for start in range(0, count, length):
        transitions = _random("mlp", (length,))
        if kind == "nature_cnn":
            frames = np.random.default_rng(start).integers(256, size=(length + 4, 84, 84), dtype=np.uint8)
            stacks = np.lib.stride_tricks.sliding_window_view(frames, 4, axis=0).transpose(0, 3, 1, 2)
            transitions = Transitions(
                stacks[:length], transitions.a_tm1, transitions.r_t, transitions.discount_t, stacks[1 : length + 1]
            )
        yield transitions


def main() -> None:
    """Measures and prints tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small replays only")
    parser.add_argument("--json", help="write all figures to this file")
    parser.add_argument("--plot", help="draw into this PNG file")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        return measure(*arguments.measure, arguments.quick)
    from throughput import machine

    about, figures = machine(), {}
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    for kind, what in (
        ("mlp", "batch"),
        ("nature_cnn", "batch"),
        ("mlp", "units"),
        ("mlp", "replay"),
        ("nature_cnn", "replay"),
    ):
        command = [sys.executable, __file__, "--measure", kind, what, *(["--quick"] * arguments.quick)]
        print(f"{kind}, {what}", file=sys.stderr)
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=1800).stdout
        figures[f"{kind}, {what}"] = json.loads(output[output.index("{") :])
    report(figures)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps({"machine": about, "figures": figures}, indent=1))
    if arguments.plot:
        draw(figures, arguments.plot)


def _ms(seconds):
    return f"{1e3 * statistics.median(seconds):,.3f} | {1e3 * min(seconds):,.3f} to {1e3 * max(seconds):,.3f}"


def report(figures: dict[str, dict]) -> None:
    """Prints the tables."""
    for name, values in figures.items():
        print(f"\n{name}\n")
        if "replay" in name:
            print("| transitions | sampling, ms an update | range | with the update, ms | range | MB | resident MB |")
            print("|---" * 7 + "|")
            for capacity, row in values.items():
                sizes = f"{row['nbytes'] / 1e6:,.0f} | {row['resident'] / 1e6:,.0f}"
                print(f"| {int(capacity):,} | {_ms(row['sample'])} | {_ms(row['both'])} | {sizes} |")
        else:
            print(f"| {name.partition(', ')[2]} | update, ms | range |\n|---|---|---|")
            for x, seconds in values.items():
                print(f"| {x} | {_ms(seconds)} |")


def draw(figures: dict[str, dict], path: str) -> None:
    """Draws cost and memory."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4), dpi=110, layout="constrained")
    batch, units, replay, memory = figure.subplots(1, 4)
    for kind in ("mlp", "nature_cnn"):
        label = {"mlp": "128-128, batch 64", "nature_cnn": "Nature CNN, batch 32"}[kind]
        values = figures[f"{kind}, batch"]
        batch.plot([int(x) for x in values], [1e3 * statistics.median(v) for v in values.values()], "o-", label=label)
        values = figures[f"{kind}, replay"]
        sizes = [int(x) for x in values]
        replay.plot(sizes, [1e3 * statistics.median(v["both"]) for v in values.values()], "o-", label=label)
        memory.plot(sizes, [v["nbytes"] / 1e9 for v in values.values()], "o-", label=label)
    values = figures["mlp, units"]
    units.plot([int(x) for x in values], [1e3 * statistics.median(v) for v in values.values()], "o-")
    batch.set(xlabel="batch", ylabel="ms an update", title="Update against batch", xscale="log", yscale="log")
    units.set(xlabel="units of both layers", title="128-128 and the like, batch 64", xscale="log", yscale="log")
    replay.set(xlabel="transitions", title="Sampling and update against replay", xscale="log", yscale="log")
    memory.set(xlabel="transitions", ylabel="GB", title="Memory of a full replay")
    for axes in (batch, replay, memory):
        axes.legend()
    figure.savefig(path)


if __name__ == "__main__":
    main()

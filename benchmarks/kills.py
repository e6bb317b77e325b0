"""Trains twice, once left alone and once killed at random moments, compares the two and draws their curves.

    python benchmarks/kills.py [--kills=10] [--seconds=5,25] [--seed=0] [--plot=FILE.png] -- [flags of train.py]

The launcher, or one process of the run, gets SIGKILL, SIGTERM or SIGINT, by turns of the seed; what then does not start
again by itself is started again. Linux only.
"""

import argparse
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def train(flags: list[str], logdir: pathlib.Path) -> subprocess.Popen:
    """Starts a run."""
    command = [sys.executable, str(ROOT / "train.py"), *flags, f"--logdir={logdir}"]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)


def rows(logdir: pathlib.Path) -> list[dict]:
    """Returns the rows of metrics, without what measures time."""
    lines = (logdir / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if not k.startswith("time/")} for line in lines]


def family(pid: int) -> list[int]:
    """Returns a process and its children."""
    return [pid, *map(int, pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def kill(flags: list[str], logdir: pathlib.Path, arguments: argparse.Namespace) -> list[tuple[int, str]]:
    """Runs to the end with kills on the way; returns the env step and the name of each."""
    generator, killed = random.Random(arguments.seed), []
    process = train(flags, logdir)
    while process.poll() != 0:
        if process.poll() is not None:
            process = train(flags, logdir)
        begin, wait = time.monotonic(), generator.uniform(*arguments.seconds)
        while process.poll() is None and (len(killed) == arguments.kills or time.monotonic() - begin < wait):
            time.sleep(0.05)
        if process.poll() is None:
            number = generator.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT))
            target = generator.choice(family(process.pid))
            at = [row["env_steps"] for row in rows(logdir)] if (logdir / "metrics.jsonl").exists() else []
            killed.append((max(at, default=0), number.name))
            print(f"{number.name} to process {target} of {family(process.pid)}", file=sys.stderr, flush=True)
            os.kill(target, number)
            time.sleep(3.0)
    return killed


def draw(path: pathlib.Path, alone: list[dict], interrupted: list[dict], killed: list[tuple[int, str]]) -> None:
    """Draws the episodes of both runs, and where the second was killed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4), layout="constrained")
    tag = "train/episode_return"
    for label, told, style in (("left alone", alone, {"color": "0.6", "linewidth": 5}), ("killed", interrupted, {})):
        episodes = [(row["env_steps"], row[tag]) for row in told if tag in row]
        axes.plot(*zip(*episodes, strict=True), label=label, **{"linewidth": 0.8, **style})
    for step, _ in killed:
        axes.axvline(step, color="tab:red", linewidth=0.6, linestyle=":")
    axes.set(xlabel="env steps", ylabel="episode return", title=f"{len(killed)} kills (dotted)")
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> int:
    """Returns 0 where both runs told the same."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seconds", type=lambda text: tuple(map(float, text.split(","))), default=(5.0, 25.0))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=pathlib.Path)
    parser.add_argument("flags", nargs="*")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        alone, interrupted = pathlib.Path(directory, "alone"), pathlib.Path(directory, "killed")
        if train(arguments.flags, alone).wait():
            return 1
        killed = kill(arguments.flags, interrupted, arguments)
        is_same = rows(alone) == rows(interrupted)
        if arguments.plot:
            draw(arguments.plot, rows(alone), rows(interrupted), killed)
        print(json.dumps({"kills": len(killed), "rows": len(rows(alone)), "same": is_same, "killed": killed}))
    return 0 if is_same else 1


if __name__ == "__main__":
    sys.exit(main())

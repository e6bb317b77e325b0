"""Measures what docs/gpu.md promises, in one run of at most 5 minutes on one GPU: a line a figure, medians with ranges.

    python benchmarks/gpu.py [--json=FILE]
    python benchmarks/gpu.py --small                     # where there is no GPU: the same on CPU devices, in a minute

  update   milliseconds of an update of the Nature network, as the replay is on the host or on the GPU, with XLA or not
  pong     env steps/s of `python train.py --env=ALE/Pong-v5` after its first update, and how much of the time the
           learner and the actor waited for each other
  adding   microseconds of a transition that is added to a replay on the host and on the GPU
  peers    stable-baselines3 and sbx at the same work, in as many games, if they are installed beside this program

Nothing else should run meanwhile.
"""

import argparse
import dataclasses
import functools
import importlib.util
import json
import os
import pathlib
import statistics
import sys
import time
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks" / "peers")]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import contest  # noqa: E402
import works  # noqa: E402

from dqn_tf.persistence import versions  # noqa: E402
from dqn_tf.process import gpus  # noqa: E402

STARTED, MAX_SECONDS = time.monotonic(), 270
STACK, NUM_ACTIONS, NUM_TRANSITIONS = (4, 84, 84), 6, 4_000
PEERS = {
    "stable-baselines3": ("stable_baselines3", "stable_baselines3_worker.py"),
    "sbx": ("sbx", "sbx_worker.py"),
}


class Figures:
    """All figures by name, in a file if there is one."""

    def __init__(self, path: pathlib.Path | None):
        self._path, self._all = path, {}

    def say(self, what: str, value: str, **more: Any) -> None:
        """Prints a line, and keeps its figures."""
        print(f"{what}: {value}", flush=True)
        self._all[what] = more
        if self._path:
            self._path.write_text(json.dumps(self._all, indent=2))


def replay_of(place: str, devices: list[str]):
    """Returns a replay of random images, whose planes are on the host or on devices, and the us to add a transition."""
    import numpy as np

    from dqn_tf.distribution.device_replay import DeviceFrames, DeviceReplay
    from dqn_tf.experience import accumulator, frame_replay

    generator = np.random.default_rng(0)
    about = NUM_TRANSITIONS, STACK, np.uint8, generator
    if place == "host":
        made = frame_replay.FrameReplay(*about)
    else:
        frames = functools.partial(DeviceFrames, devices=devices, num_slots=NUM_TRANSITIONS + 200)
        made = DeviceReplay(*about, make_frames=frames)
    planes = generator.integers(256, size=(NUM_TRANSITIONS + 8, *STACK[1:]), dtype=np.uint8)
    stacks = np.lib.stride_tricks.sliding_window_view(planes, 4, axis=0)
    seconds = 0.0
    for start in range(0, NUM_TRANSITIONS, 100):
        rows = np.arange(start, start + 100)
        observations = (np.ascontiguousarray(np.moveaxis(stacks[rows + shift], -1, 1)) for shift in (0, 1))
        action = rows.astype(np.int32) % NUM_ACTIONS
        number = np.ones(100, np.float32)
        s_tm1, s_t = observations
        transitions = accumulator.Transitions(s_tm1, action, number, 0.99 * number, s_t)
        begin = time.perf_counter()
        made.add(transitions)
        if start + 100 == NUM_TRANSITIONS:
            made.packed(start, start + 1)  # waits for the device
        seconds += time.perf_counter() - begin
    return made, 1e6 * seconds / NUM_TRANSITIONS


def adding(placement, figures: Figures) -> dict:
    """Measures what the replay does at a round's end for each transition, of which all images are new to it.

    Returns the replays, by place.
    """
    replays, devices = {}, placement.gpus or ["CPU:0"]
    replay_of("gpu", devices)  # starts the device
    for place in ("host", "gpu"):
        replays[place], us = replay_of(place, devices)
        figures.say(f"adding a transition, replay on {place}", f"{us:.0f} us, all planes told apart in it", us=us)
    return replays


def updates(placement, replays: dict, small: bool, figures: Figures) -> None:
    """Measures updates, a call of many at a time as in a run, with the transfer of what a call needs."""
    import learners
    import tensorflow as tf

    from dqn_tf.config import settings
    from dqn_tf.distribution import arithmetic

    batches = [(4, 2)] if small else [(32, 40), (256, 40), (1024, 10)]
    ways = [("host", False, "float32"), ("gpu", True, "float32"), ("gpu", True, "bfloat16")]
    ways[1:1] = [] if small else [("host", True, "float32"), ("gpu", False, "float32")]
    for place, jit_compile, precision in ways:
        for batch_size, num_updates in batches:
            what = f"update, batch {batch_size}, replay on {place}, {'XLA' if jit_compile else 'no XLA'}, {precision}"
            if time.monotonic() > STARTED + MAX_SECONDS:
                figures.say(what, f"left out after {MAX_SECONDS} s")
                continue
            config = settings.build({"network": "nature_cnn", "precision": precision})
            replay = replays[place]
            observed = getattr(replay, "observed", None)
            about = placement, "nature_cnn", (STACK, "uint8", NUM_ACTIONS), config, batch_size, jit_compile, observed
            try:
                learner, _ = learners.make(*about)
                begin = time.perf_counter()
                learner.update(replay.sample(num_updates, batch_size))
                first, seconds = time.perf_counter() - begin, []
                for _ in range(5):
                    sample = replay.sample(num_updates, batch_size)
                    begin = time.perf_counter()
                    learner.update(sample)
                    seconds.append(time.perf_counter() - begin)
            except tf.errors.OpError as error:
                figures.say(what, f"failed: {type(error).__name__}")
                continue
            if learner.jit_compile != jit_compile:
                figures.say(what, "failed: XLA cannot compile it, see the warning")
                continue
            ms = [1e3 * one / num_updates for one in seconds]
            value = f"{statistics.median(ms):.3f} ms ({min(ms):.3f} to {max(ms):.3f}), the first call {first:.1f} s"
            figures.say(what, value, ms=statistics.median(ms), low=min(ms), high=max(ms), first_s=first)
    print(f"updates were made on {arithmetic.device()}", flush=True)


def pong(small: bool, figures: Figures) -> None:
    """Measures the command with the preset for games, its replay no larger than the run."""
    env_steps = 640 if small else 80_000
    flags = ["--env=ALE/Pong-v5", f"--train_env_steps={env_steps}", f"--replay_capacity={max(env_steps, 1_000)}"]
    flags += [f"--learning_starts={160 if small else 10_000}", f"--log_period={160 if small else 10_000}"]
    flags += [] if small else ["--replay_device=gpu"]  # refused without a GPU
    flags += ["--eval_period=0", "--final_eval_episodes=1", "--eval_max_episode_steps=100", "--checkpoint_period=0"]
    row = contest.Contender(
        *("pong", "ours", "ours", "ours"),
        lambda directory: [sys.executable, str(ROOT / "train.py"), *flags, f"--logdir={directory}/run"],
    )
    _measure(row, "pong, dqn_tf", small, figures)


def peers(small: bool, figures: Figures) -> None:
    """Measures the others in as many games as the preset plays at once on a GPU."""
    lengths = dict(learning_starts=100, skipped_env_steps=50, measured_env_steps=200) if small else {}
    work = dataclasses.replace(works.PONG, num_envs=8 if small else 32, **lengths)
    for name, (module, file) in PEERS.items():
        if not importlib.util.find_spec(module):
            figures.say(f"pong, {name}", "not installed")
            continue
        command = [sys.executable, str(ROOT / "benchmarks" / "peers" / file), works.to_json(work)]
        row = contest.Contender("pong", name, name, "ours", lambda _, command=command: command)
        _measure(row, f"pong, {name}", small, figures)


def _measure(row, what, small, figures):
    contest.measure(row, timeout=75, on_gpu=not small)
    if row.failures:
        figures.say(what, f"failed: {row.failures[-1]}")
        return
    (run,) = row.runs
    waits = "".join(f", {side} waits {run[side]:.2f} of the time" for side in ("learner", "actor") if side in run)
    figures.say(what, f"{run['env steps/s']:,.0f} env steps/s{waits}", **run)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="on CPU devices, a few updates and env steps")
    parser.add_argument("--json", type=pathlib.Path, help="write all figures to this file")
    arguments = parser.parse_args()
    if not arguments.small and not gpus.visible_gpus(os.environ):
        sys.exit("no GPU is visible: see docs/gpu.md, or give --small")
    figures, about = Figures(arguments.json), {**contest.machine(), **versions.versions()}
    figures.say("machine", ", ".join(f"{name} {value}" for name, value in about.items()), **about)
    pong(arguments.small, figures)  # in a process of its own, before this one takes a GPU's memory
    peers(arguments.small, figures)
    from dqn_tf.distribution import strategy

    placement = strategy.create("default", 0, None)
    if not placement.gpus and not arguments.small:
        sys.exit("TensorFlow sees no GPU: see docs/gpu.md")
    updates(placement, adding(placement, figures), arguments.small, figures)


if __name__ == "__main__":
    main()

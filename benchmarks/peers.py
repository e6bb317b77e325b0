"""Measures other DQN programs beside this one: same environment, network, batch, updates and replay size.

    python benchmarks/peers/make_venvs.py
    python benchmarks/peers.py [--tasks=cartpole,pong] [--programs=ours,sbx] [--repeats=3] [--json=FILE]

Each measurement is a process of its own in its program's own virtual environment, in turns, A B C A B C; medians and
ranges. Nothing else should run on the machine meanwhile. What is compared:

  cartpole     env steps/s with learning on: 64-64, batch 32, an update for each env step
  rlzoo        seconds of the command and of the training within: rl-baselines3-zoo's setting, 50,000 env steps
  pong         env steps/s with learning on: network of Mnih et al. 2015, batch 32, an update for each 4 env steps
  replay       bytes of a replay of 100,000 Atari transitions
  two_workers  ours alone: updates of two workers on a core each against one worker on one core,
               and of two that say nothing to each other, which is what the machine allows

Rates are taken between two counts of env steps, the first some time after learning began. Programs act in one
environment, which is how they come; those called -vector act in as many as ours and learn as much, and ours-preset in
as many as our preset for games. Gradients are clipped at a norm of 10 by us and by stable-baselines3. Commands do what
their programs do by themselves: ours also evaluates an episode, draws a curve and exports the model before it ends.
"""

import argparse
import dataclasses
import json
import pathlib
import re
import signal
import sys
import time

WORKERS = pathlib.Path(__file__).resolve().parent / "peers"
sys.path.insert(0, str(WORKERS))

import contest  # noqa: E402
import make_venvs  # noqa: E402
import ours  # noqa: E402
import works  # noqa: E402

WORKS = {work.task: work for work in (works.CARTPOLE, works.RLZOO, works.PONG, works.REPLAY)}
BASELINES = ("stable-baselines3", "stable-baselines3-vector", "sbx", "sbx-vector")
PROGRAMS = {
    "cartpole": ("ours", *BASELINES, "cleanrl", "keras"),
    "rlzoo": ("ours", *BASELINES),
    "pong": ("ours", "ours-preset", *BASELINES, "cleanrl"),
    "replay": ("ours", "stable-baselines3", "sbx", "cleanrl"),
}
PRESET_NUM_ENVS = 8  # of games, where no GPU learns
WORKER_FILES = {
    "stable-baselines3": "stable_baselines3_worker.py",
    "sbx": "sbx_worker.py",
    "cleanrl": "cleanrl_worker.py",
    "keras": "keras_loop_worker.py",
}
# What is not as in works.py: enough env steps for a steady rate, a minute or less on two cores.
LENGTHS = {
    ("cartpole", "ours"): {"measured_env_steps": 60_000},
    ("cartpole", "sbx-vector"): {"measured_env_steps": 30_000},
    ("cartpole", "keras"): {"measured_env_steps": 200, "learning_starts": 100, "skipped_env_steps": 20},
    ("pong", "ours"): {"measured_env_steps": 6_000},
    ("pong", "ours-preset"): {"measured_env_steps": 6_000},
    # Convolutions of JAX in its compiled loop of updates take about half a second an update, on one core.
    ("pong", "sbx"): {"measured_env_steps": 200, "skipped_env_steps": 100},
    ("pong", "sbx-vector"): {"measured_env_steps": 200, "skipped_env_steps": 100},
}
TWO_WORKERS_BATCHES = (128, 32)


def contenders(arguments: argparse.Namespace) -> list[contest.Contender]:
    """Returns all that is to be measured."""
    made = []
    for task in arguments.tasks:
        if task == "two_workers":
            made += _two_workers(arguments)
            continue
        for name in PROGRAMS[task]:
            if name in arguments.programs:
                venv = name.removesuffix("-vector").removesuffix("-preset")
                lengths = {**LENGTHS.get((task, name), {}), **arguments.env_steps.get((task, name), {})}
                if name.endswith("-vector"):
                    lengths["num_envs"] = ours.NUM_ENVS[task]
                elif name == "ours-preset":
                    lengths["num_envs"] = PRESET_NUM_ENVS
                work = dataclasses.replace(WORKS[task], **lengths)
                command = _command(make_venvs.python(arguments.venvs, venv), venv, work)
                made.append(contest.Contender(task, name, venv, "ours", command))
    return made


def _command(python, venv, work):
    """Returns the function from a directory to the command that measures `work`."""
    if venv != "ours":
        return lambda _: [str(python), str(WORKERS / WORKER_FILES[venv]), works.to_json(work)]
    if work.task == "replay":
        return lambda _: [str(python), str(WORKERS / "ours_replay_worker.py"), works.to_json(work)]
    train = str(make_venvs.ROOT / "train.py")
    return lambda directory: [str(python), train, *ours.flags(work), f"--logdir={directory}/run"]


def _two_workers(arguments):
    python = str(make_venvs.python(arguments.venvs, "ours"))
    for batch_size in TWO_WORKERS_BATCHES:
        reference = f"1 worker, batch {batch_size}"
        for name, special in (
            (reference, {"num_workers": 1}),
            (f"2 workers, batch {batch_size} each", {"num_workers": 2}),
            (f"2 workers apart, batch {batch_size} each", {"num_workers": 2, "apart": True}),
        ):
            given = {**special, "worker_batch_size": batch_size, "settings": arguments.settings, **arguments.updates}
            command = [python, str(WORKERS / "ours_updates_worker.py"), json.dumps(given)]
            yield contest.Contender("two_workers", name, "ours", reference, lambda _, command=command: command)


def _parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = list(dict.fromkeys(name for programs in PROGRAMS.values() for name in programs))
    parser.add_argument("--tasks", default=",".join(contest.SHOWN), help="comma separated")
    parser.add_argument("--programs", default=",".join(names), help="comma separated; two_workers is always ours")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--venvs", type=pathlib.Path, default=make_venvs.DEFAULT, help="where make_venvs.py made them")
    parser.add_argument("--env_steps", default="", help="measured env steps: cartpole/keras=500,pong/ours=20000")
    parser.add_argument("--settings", type=json.loads, default={}, help="of two_workers: JSON, by flags' names")
    parser.add_argument("--updates", type=json.loads, default={}, help='of two_workers: {"calls": 5}')
    parser.add_argument("--timeout", type=float, default=900, help="seconds for one measurement")
    parser.add_argument("--json", type=pathlib.Path, help="write everything to this file")
    arguments = parser.parse_args()
    for flag, known in (("tasks", list(contest.SHOWN)), ("programs", names)):
        values = getattr(arguments, flag).split(",")
        if set(values) - set(known):
            parser.error(f"--{flag}={','.join(values)} must be of {','.join(known)}")
        setattr(arguments, flag, values)
    lengths = {}
    for item in filter(None, arguments.env_steps.split(",")):
        match = re.fullmatch(r"(\w+)/([\w-]+)=(\d+)", item)
        if not match or match[2] not in PROGRAMS.get(match[1], ()):
            parser.error(f"--env_steps={item} must be TASK/PROGRAM=NUMBER")
        lengths[match[1], match[2]] = {"measured_env_steps": int(match[3])}
    arguments.env_steps = lengths
    return arguments


def main() -> None:
    """Measures in turns, prints a table for each task, and writes all there is to --json."""
    arguments = _parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as Ctrl-C does, by way of the measurement's clean-up
    rows = contenders(arguments)
    for repeat in range(arguments.repeats):
        for row in rows:
            what = f"repeat {repeat + 1} of {arguments.repeats}: {row.task}, {row.name}"
            print(what, end="", file=sys.stderr, flush=True)
            begin, num_failures = time.perf_counter(), len(row.failures)
            contest.measure(row, arguments.timeout)
            figures = row.failures[-1] if len(row.failures) > num_failures else row.runs[-1]
            print(f" ({time.perf_counter() - begin:.0f} s): {figures}", file=sys.stderr, flush=True)
    about = contest.machine()
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    for task in arguments.tasks:
        print(contest.table(task, [row for row in rows if row.task == task]))
    if arguments.json:
        arguments.json.write_text(json.dumps(contest.everything(about, arguments.venvs, rows), indent=2))


if __name__ == "__main__":
    main()

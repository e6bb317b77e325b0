"""Short runs, and what a run leaves behind, for tests to look at."""

import collections
import contextlib
import hashlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np

from dqn_tf.experience import accumulator
from dqn_tf.persistence import archive, manifest

ROOT = pathlib.Path(__file__).parents[1]
SECONDS = 300  # no test waits longer for a process

# Every number that decides what happens when, so that the defaults may be tuned without a change here.
# 8 environments, rounds of 40 env steps and 20 updates, which begin with the round that starts at 200.
SMALL = [
    "--train_env_steps=1200",
    "--num_envs=8",
    "--round_env_steps=40",
    "--replay_ratio=0.5",
    "--batch_size=16",
    "--replay_capacity=1000",
    "--learning_starts=200",
    "--n_step=3",
    "--hidden_units=16,16",
    "--epsilon_initial=1",
    "--epsilon_final=0.1",
    "--epsilon_decay_env_steps=800",
    "--eval_period=400",
    "--eval_episodes=3",
    "--final_eval_episodes=7",
    "--checkpoint_period=400",
    "--log_period=200",
    "--jit_compile=false",  # compiling takes longer than such a run
]


def start(*argv, program=(str(ROOT / "train.py"),), before=(), **environment):
    """Starts train.py, or another `program` of Python's, in a session of its own; `before` it come words as of env."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("TF_CONFIG", "DQN_TF_PROGRESS")}
    return subprocess.Popen(
        [*before, sys.executable, *program, *argv],
        cwd=ROOT,
        env={**inherited, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process):
    """Returns the process's CompletedProcess; it is gone afterwards, and so is its session."""
    try:
        stdout, stderr = process.communicate(timeout=SECONDS)
    finally:
        kill(process)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def kill(process):
    """Kills a process of `start` and its session, where they still run."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def family(pid):
    """Returns a process's children, which may lead sessions of their own. Linux only."""
    try:
        return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def workers(pid):
    """Returns the process ids of a launcher's workers, by index, as far as they are there. Linux only."""
    found = {}
    for child in family(pid):
        with contextlib.suppress(OSError, KeyError):
            text = pathlib.Path(f"/proc/{child}/environ").read_bytes().decode()
            variables = dict(line.split("=", 1) for line in text.split("\0") if "=" in line)
            found[json.loads(variables["TF_CONFIG"])["task"]["index"]] = child
    return found


def addresses(count):
    """Returns so many free ones of this machine, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for held in sockets:
            held.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{held.getsockname()[1]}" for held in sockets]


def wait_until_gone(pids):
    """Returns when none of these processes is left."""
    give_up = time.monotonic() + SECONDS
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            while True:
                os.kill(pid, 0)
                assert time.monotonic() < give_up, f"process {pid} is left"
                time.sleep(0.01)


def command(*argv, **environment):
    """Returns the CompletedProcess of train.py with these flags and environment variables."""
    return finish(start(*argv, **environment))


def read_json(path):
    return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))


def rows(logdir, prefix=""):
    """Returns the rows of metrics.jsonl that have a scalar of this prefix, without those that measure time."""
    lines = (pathlib.Path(logdir) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    read = [{name: value for name, value in json.loads(line).items() if not name.startswith("time/")} for line in lines]
    return [row for row in read if any(name.startswith(prefix) for name in row)]


def steps(logdir, tag):
    """Returns the env steps of the rows that have the scalar `tag`."""
    return [row["env_steps"] for row in rows(logdir, tag)]


def checkpoints(logdir):
    """Returns the env steps of the checkpoints in a run's directory."""
    return manifest.numbers(pathlib.Path(logdir) / "checkpoints")


def tensors(logdir, env_steps=None):
    """Returns the arrays of a checkpoint, the last one unless told: networks, target, optimizer with its slots."""
    import tensorflow as tf

    env_steps = checkpoints(logdir)[-1] if env_steps is None else env_steps
    reader = tf.train.load_checkpoint(str(pathlib.Path(logdir) / "checkpoints" / f"ckpt-{env_steps}" / "model"))
    arrays = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    skipped = ("_CHECKPOINTABLE_OBJECT_GRAPH", "save_counter")  # the bookkeeping of tf.train.Checkpoint
    return {name: array for name, array in arrays.items() if not name.startswith(skipped)}


def bits(logdir, env_steps=None):
    """Returns the same as bytes, by name: equal where all bits are."""
    return {name: (array.dtype.str, array.tobytes()) for name, array in tensors(logdir, env_steps).items()}


def fingerprint(logdir):
    """Returns all that a run is at its last checkpoint and has told so far, but for what measures time, by name."""
    root = pathlib.Path(logdir) / "checkpoints"
    made = manifest.check(root, checkpoints(logdir)[-1])
    told = {tag: values for tag, values in scalars(logdir).items() if not tag.startswith("time/")}
    progress = {name: value for name, value in made.progress.items() if not name.endswith("seconds")}
    parts = {"rows": rows(logdir), "scalars": told, "progress": progress, "checkpoints": checkpoints(logdir)}
    parts["tensors"] = bits(logdir)
    share = made.config["training"]["replay_capacity"] // len(made.workers)
    for index, worker in enumerate(made.workers):
        parts[f"state {index}"] = archive.read(root / worker.state.path)
        parts[f"replay {index}"] = transitions(root, worker, share)
    return {name: hashlib.sha256(repr(_plain(part)).encode()).hexdigest() for name, part in parts.items()}


def transitions(root, worker, capacity=None):
    """Returns the transitions a worker of a manifest holds, oldest first, by column, and the number of the next one."""
    columns = collections.defaultdict(list)
    for segment in worker.replay:
        arrays = archive.read(root / segment.file.path)
        for name in (name for name in accumulator.MaskedTransitions._fields if name in arrays):
            is_stack = name.startswith("s_t") and "planes" in arrays
            columns[name].append(arrays["planes"][arrays[name]] if is_stack else arrays[name])
    whole = {name: np.concatenate(column) for name, column in columns.items()}
    return {"num_added": worker.num_added} | {name: column[-(capacity or 0) :] for name, column in whole.items()}


def _plain(tree):
    """Returns a tree with arrays as bytes."""
    if isinstance(tree, dict):
        return {name: _plain(branch) for name, branch in tree.items()}
    return (tree.dtype.str, tree.shape, tree.tobytes()) if isinstance(tree, np.ndarray) else tree


def network(arrays):
    """Returns those of `tensors` or `bits` that are the online network's, in order: it is saved as the optimizer's."""
    return [arrays[name] for name in sorted(arrays) if name.startswith("optimizer/_trainable_variables/")]


def kept(arrays):
    """Returns those that are the kept network's, in the same order."""
    return [arrays[name] for name in sorted(arrays) if name.startswith("kept/")]


def events(logdir):
    """Returns what TensorBoard reads from a run's directory."""
    from tensorboard.backend.event_processing import event_accumulator

    everything = {event_accumulator.TENSORS: 0}
    return event_accumulator.EventAccumulator(str(logdir), size_guidance=everything).Reload()


def scalars(logdir):
    """Returns (step, value) of TensorBoard's scalars by tag."""
    from tensorboard.util import tensor_util

    read = events(logdir)
    return {
        tag: [(event.step, float(tensor_util.make_ndarray(event.tensor_proto))) for event in read.Tensors(tag)]
        for tag in read.Tags()["tensors"]
        if read.SummaryMetadata(tag).plugin_data.plugin_name == "scalars"
    }


def without_tensorflow(directory):
    """Makes a `directory` for PYTHONPATH with which a process that imports TensorFlow or Keras leaves with code 99."""
    for package in ("tensorflow", "keras"):
        (directory / package).mkdir(parents=True)
        (directory / package / "__init__.py").write_text("import os\nos._exit(99)\n")
    return str(directory)

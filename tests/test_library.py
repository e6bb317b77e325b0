"""dqn_tf in Python: the blocks of docs/library.md, the notebook, and what a library leaves alone."""

import dataclasses
import functools
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import types

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import dqn_tf
from dqn_tf.config import user_code
from dqn_tf.evaluation import acting
from dqn_tf.training.callbacks import Callbacks
from tests import making, marks, runs
from tests.placements import one_replica

SMALL = dict(
    preset="none",
    train_env_steps=800,
    learning_starts=400,
    num_envs=8,
    eval_period=400,
    eval_episodes=2,
    final_eval_episodes=3,
    checkpoint_period=400,
    hidden_units=(16,),
    jit_compile="false",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return dqn_tf.train("CartPole-v1", logdir=str(tmp_path_factory.mktemp("library") / "run"), **SMALL)


def of_command(logdir, *flags):
    """Trains by the command."""
    small = [f"--{name}={','.join(map(str, v)) if isinstance(v, tuple) else v}" for name, v in SMALL.items()]
    finished = runs.finish(runs.start(f"--logdir={logdir}", *small, *flags))
    assert finished.returncode == 0, finished.stderr


def test_train_gives_the_same_bits_as_the_command(trained, tmp_path):
    of_command(tmp_path / "run")
    command = dqn_tf.load_run(tmp_path / "run")
    for mine, theirs in zip(trained.q_network.get_weights(), command.q_network.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    volatile = {"wall_seconds", "env_steps_per_second", "updates_per_second", "threshold_seconds", "files"}
    volatile |= {"actor_wait_share", "learner_wait_share"}
    same = trained.summary.keys() - volatile
    assert {name: trained.summary[name] for name in same} == {name: command.summary[name] for name in same}


def test_train_in_a_thread_leaves_signals_and_variables_alone(tmp_path):
    before = dict(os.environ), [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    made = []
    thread = threading.Thread(
        target=lambda: made.append(dqn_tf.train("CartPole-v1", logdir=str(tmp_path / "run"), **SMALL))
    )
    thread.start()
    thread.join(300)
    assert made[0].summary["env_steps"] == 800
    after = dict(os.environ), [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert after == before


class Recorder(dqn_tf.Callback):
    """Notes its calls; returns STOP at the evaluation, or raises, if asked."""

    def __init__(self, stop_at=None, raise_at=None):
        self.calls, self._stop_at, self._raise_at = [], stop_at, raise_at

    def _note(self, name, env_steps):
        self.calls.append((name, env_steps))
        if self.calls[-1] == self._raise_at:
            raise KeyError("mine")
        return dqn_tf.STOP if self.calls[-1] == self._stop_at else None

    def on_round_end(self, progress):
        return self._note("round", progress.env_steps)

    def on_evaluation(self, progress, returns):
        assert returns.shape == (2,)
        return self._note("evaluation", progress.env_steps)

    def on_checkpoint(self, progress, path):
        assert (path / "manifest.json").exists()
        return self._note("checkpoint", progress.env_steps)

    def on_episode(self, progress, episode_return, length):
        assert episode_return == length  # of CartPole

    def on_end(self, summary):
        self._note("end", summary["env_steps"])


def named(recorder, *names):
    return [call for call in recorder.calls if call[0] in names]


def test_callbacks_are_called_in_order(tmp_path):
    recorder = Recorder()
    dqn_tf.train("CartPole-v1", callbacks=[recorder], logdir=str(tmp_path / "run"), **SMALL)
    assert named(recorder, "round") == [("round", n) for n in range(80, 801, 80)]
    parts = [("evaluation", 400), ("checkpoint", 400), ("evaluation", 800), ("checkpoint", 800), ("end", 800)]
    assert named(recorder, "evaluation", "checkpoint", "end") == parts


@pytest.mark.parametrize("stop_at", [("round", 480), *marks.thorough((("evaluation", 400),), (("checkpoint", 400),))])
def test_callback_that_returns_stop_ends_the_run_which_can_be_resumed(tmp_path, stop_at):
    logdir = str(tmp_path / "run")
    run = dqn_tf.train("CartPole-v1", callbacks=[Recorder(stop_at)], logdir=logdir, **SMALL)
    assert run.summary["env_steps"] == stop_at[1]
    assert isinstance(run.act(np.zeros(4, np.float32)), int)
    assert dqn_tf.train("CartPole-v1", logdir=logdir, **SMALL).summary["env_steps"] == 800


@pytest.mark.parametrize("raise_at", [("round", 480), *marks.thorough((("evaluation", 400),), (("checkpoint", 400),))])
def test_callback_that_raises_is_named_after_the_run_was_saved(tmp_path, raise_at, trained):
    logdir = str(tmp_path / "run")
    with pytest.raises(dqn_tf.UserCodeFailure, match=r"callback Recorder.on_\w+ raised KeyError: 'mine'") as raised:
        dqn_tf.train("CartPole-v1", callbacks=[Recorder(raise_at=raise_at)], logdir=logdir, **SMALL)
    assert isinstance(raised.value.__cause__, KeyError)
    resumed = dqn_tf.train("CartPole-v1", logdir=logdir, **SMALL)
    for mine, theirs in zip(resumed.q_network.get_weights(), trained.q_network.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_callbacks_are_not_called_on_workers_that_are_not_the_chief():
    import dataclasses

    recorder = Recorder()
    worker = dataclasses.replace(one_replica(), worker_index=1)
    Callbacks([recorder], None, None, worker, lambda: 0.0).tell("on_round_end", None, ())
    assert recorder.calls == []


IN_A_CLUSTER = """
import json, sys, dqn_tf
test = __import__("tests.test_library", fromlist=["x"])
small, recorder = json.loads(sys.argv[2]), test.Recorder()
given = dict(network=test.dueling, callbacks=[recorder] * int(sys.argv[3]))  # the chief's alone
run = dqn_tf.train("CartPole-v1", strategy="multiworker", logdir=sys.argv[1], **given, **small)
assert len(recorder.calls) == 15 * int(sys.argv[3])
print(run.summary["num_workers"], run.act([0.0, 0.0, 0.0, 0.0]), flush=True)
"""


@pytest.mark.thorough
def test_processes_of_a_cluster_make_the_same_call_and_train_one_network(tmp_path):
    cluster = {"cluster": {"worker": runs.addresses(2)}}
    processes = []
    for index in range(2):
        variable = json.dumps({**cluster, "task": {"type": "worker", "index": index}})
        argv = [str(tmp_path / "run"), json.dumps(SMALL), str(1 - index)]
        processes.append(runs.start(*argv, program=("-c", IN_A_CLUSTER), TF_CONFIG=variable))
    done = [runs.finish(process) for process in processes]
    assert [one.returncode for one in done] == [0, 0], done
    assert done[0].stdout == done[1].stdout and done[0].stdout.startswith("2 ")
    of_command(tmp_path / "command", "--strategy=multiworker", "--network=tests.test_library:dueling")
    assert runs.bits(tmp_path / "run") == runs.bits(tmp_path / "command")


def dueling(shape, num_actions, settings):
    import keras

    x = inputs = keras.Input(shape)
    x = keras.layers.Dropout(0.2)(keras.layers.Dense(16, activation="relu")(x))
    value, advantage = keras.layers.Dense(1)(x), keras.layers.Dense(num_actions)(x)
    return keras.Model(inputs, value + advantage - keras.ops.mean(advantage, axis=-1, keepdims=True))


def test_train_takes_functions_and_classes(tmp_path):
    made = []

    class Counted(gymnasium.Wrapper):
        def __init__(self, env):
            made.append(self)
            super().__init__(env)

    run = dqn_tf.train(
        lambda: gymnasium.make("CartPole-v1"),
        wrappers=[Counted],
        network=dueling,
        loss=lambda error: error**2,
        logdir=str(tmp_path / "run"),
        **SMALL,
    )
    assert len(made) >= 8
    assert run.config.network.network == "tests.test_library:dueling"
    with pytest.raises(dqn_tf.ConfigError, match="--network=tests.test_library:dueling to trust it"):
        dqn_tf.load_run(run.logdir, env=run.config.run.env, wrappers=run.config.run.wrapper)
    loaded = dqn_tf.load_run(
        run.logdir, env=run.config.run.env, wrappers=run.config.run.wrapper, network="tests.test_library:dueling"
    )
    np.testing.assert_array_equal(loaded.evaluate(3), run.evaluate(3))


def test_train_starts_from_a_model_that_is_given_and_leaves_it_as_it_is(tmp_path):
    import keras

    layers = [keras.layers.Dense(8, activation="relu", trainable=False), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((4,)), *layers], name="mine")
    before = model.get_weights()
    once = {**SMALL, "eval_period": 800}  # an evaluation before it has learned might be the best
    run = dqn_tf.train("CartPole-v1", network=model, logdir=str(tmp_path / "run"), **once)
    after = run.q_network.get_weights()
    np.testing.assert_array_equal(after[0], before[0])  # frozen
    assert not np.array_equal(after[2], before[2])
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    loaded = dqn_tf.load_run(run.logdir, network=model)
    np.testing.assert_array_equal(loaded.evaluate(3), run.evaluate(3))


def cart_pole(render_mode=None):
    return gymnasium.make("CartPole-v1", render_mode=render_mode)


def test_environment_by_a_function_of_a_module_is_found_by_its_name(tmp_path, trained):
    name = "tests.test_library:cart_pole"
    of_command(tmp_path / "command", f"--env={name}")
    dqn_tf.train(cart_pole, logdir=str(tmp_path / "run"), **SMALL)
    for logdir in ("command", "run"):
        run = dqn_tf.load_run(tmp_path / logdir, env=name)
        np.testing.assert_array_equal(run.evaluate(3), trained.evaluate(3))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"batch_sise": 3}, "batch_sise=3 is an unknown setting; did you mean batch_size?"),
        ({"batch_size": "many"}, "--batch_size=many must be a whole number of at least 1."),
        ({"network": 5}, "network=5 must be a name or a function."),
        ({"callbacks": Recorder}, "callbacks=<class 'tests.test_library.Recorder'> must be a list."),
        ({"callbacks": [Recorder]}, "callbacks: <class 'tests.test_library.Recorder'> must be a dqn_tf.Callback"),
        ({"wrappers": gymnasium.Wrapper}, "wrappers=<class 'gymnasium.core.Wrapper'> must be a list."),
        ({"config": "x"}, "config='x' must be a dqn_tf.Config."),
        ({"strategy": "multiworker"}, "--strategy=multiworker: a library starts no processes; "),
        ({"env": "Cartpole-v1"}, "--env=Cartpole-v1 is not a registered environment; did you mean CartPole-v1"),
    ],
)
def test_train_tells_mistakes_with_the_words_of_the_command(arguments, line, tmp_path):
    with pytest.raises(dqn_tf.ConfigError) as raised:
        dqn_tf.train(**{"logdir": str(tmp_path / "run"), **arguments})
    assert str(raised.value).startswith(line)
    assert not (tmp_path / "run").exists()


def test_load_run_of_what_is_none_says_so(tmp_path):
    with pytest.raises(dqn_tf.ConfigError, match="holds no run"):
        dqn_tf.load_run(tmp_path)


def test_objects_without_a_name_of_their_own_have_one_each():
    first, second, partial = (lambda: 1), (lambda: 2), functools.partial(dueling, num_actions=2)
    names = [user_code.register("loss", one) for one in (first, second, first, dueling, partial)]
    assert len(set(names)) == 4 and names[0] == names[2] and names[3] == "tests.test_library:dueling"
    assert [user_code.find("loss", name) for name in names] == [first, second, first, dueling, partial]


def test_runs_of_two_lambdas_keep_their_own_environment(tmp_path):
    def made(length):
        limit = dict(max_episode_steps=length)
        logdir = str(tmp_path / str(length))
        return dqn_tf.train(lambda: gymnasium.make("CartPole-v1", **limit), logdir=logdir, **SMALL)

    short, long = made(5), made(7)
    assert (short.evaluate(2).tolist(), long.evaluate(2).tolist()) == ([5, 5], [7, 7])


def test_run_that_a_callback_ends_has_its_last_rows(tmp_path):
    values = {**SMALL, "log_period": 480}
    recorder = Recorder(("evaluation", 400))
    run = dqn_tf.train("CartPole-v1", callbacks=[recorder], logdir=str(tmp_path / "run"), **values)
    assert run.summary["episodes"] > 0
    assert np.isfinite(run.metrics["train/episode_return"]).sum() == run.summary["episodes"]


@pytest.mark.parametrize("arguments", [{"episodes": 0}, {"seed": -1}, {"epsilon": 2.0}, {"max_episode_steps": 0}])
def test_evaluate_refuses_what_is_out_of_range(trained, arguments):
    with pytest.raises(ValueError, match="at least 1"):
        trained.evaluate(**arguments)


class First:
    """A policy that takes the largest number of an observation."""

    def values(self, observation):
        return observation.reshape(len(observation), -1)


SPACES = [
    (spaces.Box(0, 9, (3,), np.float32), [1, 5, 2], 1),
    (spaces.Discrete(4), 2, 2),
    (spaces.MultiBinary(3), [0, 0, 1], 2),
    (spaces.Dict(a=spaces.Discrete(2), b=spaces.Box(0, 9, (2,), np.float32)), {"a": 1, "b": [7, 8]}, 3),
    (spaces.Tuple((spaces.Discrete(2), spaces.Box(0, 9, (2,), np.float32))), (0, [0, 8]), 3),
    (spaces.Dict(a=spaces.Dict(c=spaces.Box(0, 9, (), np.float32))), {"a": {"c": 3.0}}, 0),
]


def batch_of(space, observation):
    """Returns a batch of two as gymnasium's vector environments give it."""
    made = gymnasium.vector.utils.create_empty_array(space, 2)
    return gymnasium.vector.utils.concatenate(space, [cast(space, observation)] * 2, made)


def cast(space, observation):
    if isinstance(space, spaces.Dict):
        return {name: cast(part, observation[name]) for name, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(cast(part, one) for part, one in zip(space.spaces, observation, strict=True))
    return np.array(observation, space.dtype)


@pytest.mark.parametrize(("space", "observation", "action"), SPACES)
def test_act_takes_one_observation_a_batch_or_a_list(space, observation, action):
    size = (spaces.flatdim(space),)
    changed = {"observation_space": space, "action_space": spaces.Discrete(9, start=10)}
    spec = dataclasses.replace(making.spec(size, np.float32, 9), **changed)
    policy = First()
    assert acting.act(policy, spec, observation) == 10 + action
    np.testing.assert_array_equal(acting.act(policy, spec, batch_of(space, observation)), [10 + action] * 2)
    np.testing.assert_array_equal(acting.act(policy, spec, [cast(space, observation)] * 2), [10 + action] * 2)


@pytest.mark.parametrize(
    "actions, own",
    [
        (spaces.Discrete(6, start=10), [11, 13]),
        (spaces.MultiDiscrete([2, 3], start=[0, 5]), np.int64([[0, 6], [1, 5]])),
        (spaces.MultiDiscrete([[2], [3]], dtype=np.int8), np.int8([[[0], [1]], [[1], [0]]])),
    ],
)
def test_act_of_any_action_space_gives_the_environments_own_legal_actions(actions, own):
    spec = dataclasses.replace(making.spec((6,), np.float32, 6), action_space=actions)
    seen, masks = np.float32([[0, 5, 4, 3, 2, 1], [9, 8, 7, 6, 5, 4]]) / 9, [[1] * 6, [0, 0, 0, 1, 1, 1]]
    policy = types.SimpleNamespace(values=lambda observation: observation)
    np.testing.assert_array_equal(acting.act(policy, spec, seen, masks), own, strict=isinstance(own, np.ndarray))
    for one, mask, action in zip(seen, masks, own, strict=True):
        np.testing.assert_array_equal(acting.act(policy, spec, one, mask), action)
    np.testing.assert_array_equal(acting.act(policy, spec, seen[0]), own[0])
    assert len(acting.act(policy, spec, seen[:0])) == 0
    for mask in ([1] * 5, [0] * 6, [2] * 6, masks):
        with pytest.raises(ValueError, match="mask"):
            acting.act(policy, spec, seen[0], mask)


def test_act_refuses_what_does_not_fit(trained):
    with pytest.raises(ValueError, match="does not fit Box"):
        trained.act(np.zeros(3, np.float32))


def test_run_has_columns_a_picture_and_a_name(trained):
    columns = trained.metrics
    assert columns["env_steps"].dtype == np.int64
    assert len({len(column) for column in columns.values()}) == 1
    assert np.isfinite(columns["eval/return_mean"]).sum() == 2
    assert trained.reward_curve().axes[0].get_title() == "CartPole-v1, seed 0, default"
    assert repr(trained).startswith("<dqn_tf.Run of CartPole-v1 in ")


def test_import_of_the_package_imports_nothing_else():
    program = "import sys, dqn_tf; dqn_tf.train, dqn_tf.Config; print({'tensorflow', 'keras'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=runs.ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout == "set()\n"


def test_blocks_of_the_document_run(tmp_path):
    text = (runs.ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    program = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    (tmp_path / "blocks.py").write_text(program, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(runs.ROOT)}
    done = subprocess.run(
        [sys.executable, "blocks.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "batch_sise=32 is an unknown setting; did you mean batch_size?" in done.stdout


def test_notebook_runs(tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("PYTHONPATH", str(runs.ROOT))
    path = pathlib.Path(runs.ROOT) / "examples" / "own_network.ipynb"
    notebook = nbformat.read(path, as_version=4)
    done = nbclient.NotebookClient(notebook, timeout=500, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in done.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)  # the reward curve
    assert any("step/s" in output.get("text", "") for output in outputs)  # progress

"""The evaluator task beside a run; over a bucket it is in test_bucket.py."""

import dataclasses
import json
import shutil
import signal
import threading
import time

import keras
import pytest
from gymnasium import spaces

from dqn_tf.config import flags, schema
from dqn_tf.environment import maker, probe
from dqn_tf.persistence import best_model, manifest
from dqn_tf.training import plan, run
from tests import runs


def evaluate(logdir, *argv, environ=None):
    """Returns the exit code of `python train.py --task_type=evaluator` in this process."""
    argv = ["train.py", *runs.SMALL, "--task_type=evaluator", f"--logdir={logdir}", *argv]
    return follow(argv, environ or {})


def follow(argv, environ):
    return run.evaluate(plan.make(*flags.parse(argv), environ, time.time(), flags.typed(argv)))


def found(logdir):
    """Returns the evaluator's rows."""
    return [json.loads(line) for line in (logdir / "evaluator" / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(train, tmp_path_factory):
    return train(tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture
def logdir(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def test_evaluator_of_a_finished_run_evaluates_its_last_checkpoint_as_the_run_did(logdir):
    assert evaluate(logdir) == 0
    assert found(logdir) == runs.rows(logdir, "eval/")[-1:]
    assert runs.scalars(logdir / "evaluator")["eval/return_mean"] == [
        (1200, pytest.approx(found(logdir)[0]["eval/return_mean"]))
    ]


def test_evaluator_that_starts_again_goes_on_where_it_was(logdir):
    assert evaluate(logdir) == 0
    before = (logdir / "evaluator" / "metrics.jsonl").read_bytes()
    assert evaluate(logdir) == 0
    assert (logdir / "evaluator" / "metrics.jsonl").read_bytes() == before
    assert len(runs.scalars(logdir / "evaluator")["eval/return_mean"]) == 1


def test_evaluator_plays_the_episodes_that_its_own_flags_ask_for(logdir):
    assert evaluate(logdir, "--eval_episodes=1") == 0
    assert found(logdir)[0]["eval/return_mean"] == found(logdir)[0]["eval/return_max"]


def test_evaluator_needs_no_flag_but_the_directory(train, tmp_path):
    run = train(tmp_path / "run", "--env=Acrobot-v1", "--hidden_units=8", "--eval_max_episode_steps=20")
    assert follow(["train.py", "--task_type=evaluator", f"--logdir={run}"], {}) == 0
    assert found(run) == runs.rows(run, "eval/")[-1:]


def of_module(logdir):
    """Makes a run one of a foreign module's environment."""
    stored = runs.read_json(logdir / "config.json")
    stored["run"]["env"] = "tests.environments:Tape-v0"
    (logdir / "config.json").write_text(json.dumps(stored))


@pytest.mark.parametrize("when", ["at once", "when the run is there"])
def test_evaluator_of_a_run_of_a_module_wants_it_named(logdir, when):
    argv = ["train.py", "--task_type=evaluator", f"--logdir={logdir}"]
    made = plan.make(*flags.parse(argv), {}, time.time(), flags.typed(argv))
    of_module(logdir)
    with pytest.raises(schema.ConfigError) as error:
        follow(argv, {}) if when == "at once" else run.evaluate(made)
    assert list(error.value.problems) == [
        f"--logdir={logdir} is a run that names a module, which would be imported; "
        "add --env=tests.environments:Tape-v0 to trust it."
    ]
    argv.append("--env=tests.environments:Tape-v0")
    assert plan.make(*flags.parse(argv), {}, time.time(), flags.typed(argv)).spec.num_actions == 2


@pytest.mark.parametrize("when", ["at once", "when the run is there"])
def test_evaluator_of_an_environment_that_has_changed_refuses_it(logdir, monkeypatch, when):
    argv = ["train.py", "--task_type=evaluator", f"--logdir={logdir}"]
    config_json = (logdir / "config.json").rename(logdir / "later.json")
    made = plan.make(*flags.parse(argv), {}, time.time(), flags.typed(argv))
    config_json.rename(logdir / "config.json")
    now = dataclasses.replace(probe.describe(maker.Maker("CartPole-v1")), action_space=spaces.Discrete(3))
    monkeypatch.setattr(probe, "describe", lambda *_: now)
    with pytest.raises(schema.ConfigError) as error:
        follow(argv, {}) if when == "at once" else run.evaluate(made)
    (line,) = error.value.problems
    assert line.startswith(f"--env=CartPole-v1 has other actions than the run in {logdir}: Discrete(3) now, ")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"run": {"env": 7}}', '{"run": {"en": "x"}}', "[" * 9999])
def test_evaluator_of_a_damaged_config_says_so_in_one_line(logdir, content):
    (logdir / "config.json").write_text(content)
    with pytest.raises(schema.ConfigError) as error:
        follow(["train.py", "--task_type=evaluator", f"--logdir={logdir}"], {})
    assert len(error.value.problems) == 1 and f"{logdir}/config.json" in str(error.value)


def test_evaluator_beside_a_run_evaluates_what_comes_and_ends_with_it(finished, tmp_path, monkeypatch):
    monkeypatch.setattr("dqn_tf.evaluation.continuous._POLL_SECONDS", 0.01)
    logdir = tmp_path / "run"
    codes = []
    thread = threading.Thread(target=lambda: codes.append(evaluate(logdir)), daemon=True)
    thread.start()
    logdir.mkdir()
    # What the run leaves, as it leaves it: each checkpoint when the one before has been evaluated.
    for env_steps in (400, 800, 1200):
        for path in (finished / "checkpoints" / f"ckpt-{env_steps}").iterdir():
            target = logdir / path.relative_to(finished)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.name != "manifest.json":
                deliver(path, target)
        deliver(manifest.location(finished / "checkpoints", env_steps), target.parent / "manifest.json")
        deliver(finished / "config.json", logdir / "config.json")
        wait_for(lambda: (logdir / "evaluator" / "metrics.jsonl").exists() and found(logdir)[-1]["env_steps"] == env_steps)  # noqa: B023, E501
        assert thread.is_alive()
    deliver(finished / "summary.json", logdir / "summary.json")
    thread.join(runs.SECONDS)
    assert codes == [0]
    assert [row["env_steps"] for row in found(logdir)] == [400, 800, 1200]


def deliver(source, target):
    """Copies a file as a run writes it: at its name it is whole or not there."""
    shutil.copy(source, target.with_suffix(".new"))
    target.with_suffix(".new").replace(target)


def wait_for(condition):
    give_up = time.monotonic() + runs.SECONDS
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_run_with_an_evaluator_leaves_evaluating_to_it_and_exports_its_best(train, tmp_path, monkeypatch):
    monkeypatch.setattr("dqn_tf.evaluation.continuous._POLL_SECONDS", 0.01)
    monkeypatch.setattr("dqn_tf.training.selection._POLL_SECONDS", 0.01)
    logdir, codes = tmp_path / "run", []
    thread = threading.Thread(target=lambda: codes.append(evaluate(logdir)), daemon=True)
    thread.start()
    train(logdir, "--evaluated_by=evaluator", "--checkpoint_period=0")
    thread.join(runs.SECONDS)
    assert codes == [0]
    assert runs.rows(logdir, "eval/") == []
    assert runs.checkpoints(logdir) == [400, 800, 1200]  # an evaluation each, as the chief would make
    rows, taken = found(logdir), best_model.read(logdir / "evaluator")
    assert rows[-1]["env_steps"] == taken.evaluated_env_steps == 1200
    assert taken.best_return == max(row["eval/return_mean"] for row in rows)
    exported = keras.models.load_model(logdir / "model" / "q_network.keras", compile=False).get_weights()
    assert [one.tobytes() for one in exported] == [one.tobytes() for one in taken.weights]


def test_evaluator_of_a_run_that_says_nothing_leaves_to_be_started_again(tmp_path, caplog):
    (tmp_path / "run").mkdir()
    assert evaluate(tmp_path / "run", "--round_timeout=1") == 143


def test_evaluator_that_was_stopped_for_longer_than_that_and_continued_goes_on(finished, tmp_path, monkeypatch):
    def sleep(seconds):
        """The first time the process is stopped for a day, then the run comes."""
        if not days:
            days.append(24 * 3600)
        else:
            shutil.copytree(finished, tmp_path / "run", dirs_exist_ok=True)

    days, monotonic = [], time.monotonic
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + sum(days))
    assert evaluate(tmp_path / "run", "--round_timeout=60") == 0


def test_evaluator_names_a_damaged_checkpoint_and_goes_on(logdir, caplog, monkeypatch):
    monkeypatch.setattr("logging.Logger.propagate", True, raising=False)
    (logdir / "checkpoints" / "ckpt-1200" / "model.index").write_bytes(b"cut")
    assert evaluate(logdir) == 0
    assert not (logdir / "evaluator" / "metrics.jsonl").exists()


def test_evaluator_of_another_environment_is_refused(logdir):
    with pytest.raises(schema.ConfigError) as error:
        evaluate(logdir, "--env=Acrobot-v1")
    assert list(error.value.problems) == [f"--env=Acrobot-v1 but --logdir={logdir} is a run of CartPole-v1."]


def test_evaluator_without_a_logdir_is_refused():
    argv = ["train.py", *runs.SMALL, "--task_type=evaluator"]
    with pytest.raises(schema.ConfigError) as error:
        plan.make(*flags.parse(argv), {}, time.time())
    assert list(error.value.problems) == ["the evaluator needs the --logdir of the run that it evaluates."]


@pytest.mark.parametrize(
    "environ",
    [
        {"TF_CONFIG": '{"cluster": {"worker": ["a:1"]}, "task": {"type": "evaluator", "index": 0}}'},
        {"CLUSTER_SPEC": '{"cluster": {"workerpool0": ["a:1"]}, "task": {"type": "workerpool3", "index": 0}}'},
    ],
)
@pytest.mark.parametrize("strategy", ["default", "multiworker"])
def test_plan_of_a_platforms_evaluator_does_not_train(tmp_path, environ, strategy):
    argv = ["train.py", f"--strategy={strategy}", f"--logdir={tmp_path}/run"]
    made = plan.make(*flags.parse(argv), environ, time.time())
    assert (made.is_evaluator, made.is_chief, made.needs_launcher, made.cluster) == (True, False, False, None)


@pytest.mark.thorough
def test_evaluator_command_after_the_run_evaluates_it_all_the_same(logdir):
    done = runs.finish(runs.start(*runs.SMALL, "--task_type=evaluator", f"--logdir={logdir}"))
    assert done.returncode == 0, done.stderr
    assert found(logdir) == runs.rows(logdir, "eval/")[-1:]
    assert f"the run has ended; results in {logdir}/evaluator" in done.stderr


def test_evaluator_that_is_asked_to_stop_leaves_with_143(tmp_path):
    (tmp_path / "run").mkdir()
    process = runs.start("--task_type=evaluator", f"--logdir={tmp_path}/run")
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    done = runs.finish(process)
    assert done.returncode in (143, -signal.SIGTERM)  # the latter before the command has begun: 143 to a shell

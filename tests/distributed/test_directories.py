"""Where the processes of a cluster write: one directory, of which one command has the lock."""

import json
import types

import pytest

from dqn_tf.config import schema, settings
from dqn_tf.persistence import identity, locations
from dqn_tf.training import run
from tests import runs

SHORT = [*runs.SMALL, "--train_env_steps=400", "--eval_period=0", "--final_eval_episodes=2", "--strategy=multiworker"]


@pytest.mark.thorough
def test_workers_without_a_logdir_started_one_after_the_other_write_in_the_chiefs(tmp_path):
    cluster = {"worker": runs.addresses(2)}
    started = []
    for index in range(2):
        task = {"cluster": cluster, "task": {"type": "worker", "index": index}}
        started.append(runs.start(*SHORT, before=("env", "-C", tmp_path), TF_CONFIG=json.dumps(task)))
    done = [runs.finish(process) for process in started]
    assert [process.returncode for process in done] == [0, 0], [process.stderr for process in done]
    (logdir,) = (tmp_path / "runs" / "CartPole-v1").iterdir()
    assert (logdir / "summary.json").exists() and len(list(logdir.glob("checkpoints/ckpt-400/worker-*"))) == 2


@pytest.mark.thorough
def test_launchers_of_one_moment_with_one_logdir_are_one_run(tmp_path):
    argv = [*SHORT, "--num_workers=2", f"--logdir={tmp_path}/run"]
    done = [runs.finish(process) for process in [runs.start(*argv), runs.start(*argv)]]
    assert sorted(process.returncode for process in done) == [0, 2], [process.stderr for process in done]
    (refused,) = (process.stderr for process in done if process.returncode == 2)
    assert refused == f"--logdir={tmp_path}/run is being written by another process; use a new --logdir.\n"
    assert (tmp_path / "run" / "summary.json").exists()


@pytest.mark.parametrize("chiefs, given, index", [("gs://bucket/run", "", 0), ("/run", "gs://bucket/run", 1)])
def test_workers_of_which_only_some_keep_the_run_in_a_bucket_are_all_refused(chiefs, given, index):
    mine = (chiefs, given)[index]
    plan = types.SimpleNamespace(locations=locations.Locations(mine or "runs/1", is_default=not mine))
    told = []
    placement = types.SimpleNamespace(is_chief=index == 0, exchange=lambda text: told.append(text) or [chiefs, given])
    with pytest.raises(schema.ConfigError, match="is the chief's; give it to all workers"):
        run._with_directory_of_chief(plan, None, placement)
    assert told == [mine]


@pytest.mark.parametrize("index", [0, 1])
def test_workers_that_were_given_other_settings_than_the_chief_are_told_on_all(index):
    configs = [settings.build({}), settings.build({"learning_rate": 0.5, "log_period": 7, "learner_threads": 3})]
    chief, worker = map(settings.to_json, configs)
    answers = [[json.dumps(chief), ""], ["", "\n".join(identity.unlike(chief, worker))]]
    given = []

    def exchange(text):
        given.append(text)
        return answers[len(given) - 1]

    placement = types.SimpleNamespace(is_chief=index == 0, exchange=exchange)
    with pytest.raises(schema.ConfigError) as error:
        run._check_alike(configs[index], placement)
    assert given == [answer[index] for answer in answers]
    assert error.value.problems == (
        "worker 1: --learning_rate=0.5 here, and 0.001 on the chief; give all workers the same.",
        "worker 1: --log_period=7 here, and 1000 on the chief; give all workers the same.",
    )


@pytest.mark.soak
def test_workers_that_were_given_other_settings_than_the_chief_are_all_refused(tmp_path):
    cluster, started = {"worker": runs.addresses(2)}, []
    others = ["--eval_period=200", "--learning_rate=0.5", "--round_timeout=99"]
    for index, more in enumerate(([], others)):
        task = {"cluster": cluster, "task": {"type": "worker", "index": index}}
        argv = [*SHORT, f"--logdir={tmp_path}/run", *more]
        started.append(runs.start(*argv, TF_CONFIG=json.dumps(task)))
    done = [runs.finish(process) for process in started]
    assert [process.returncode for process in done] == [2, 2]
    for process in done:
        said = [line for line in process.stderr.splitlines() if line.startswith("worker ")]
        assert said == [
            "worker 1: --learning_rate=0.5 here, and 0.002 on the chief; give all workers the same.",
            "worker 1: --eval_period=200 here, and 0 on the chief; give all workers the same.",
        ]
    assert not (tmp_path / "run" / "config.json").exists()

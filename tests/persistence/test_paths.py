"""Directories of any name: a run in one is trained, resumed, followed and evaluated as elsewhere."""

import json
import time

import pytest

from dqn_tf.config import flags
from dqn_tf.evaluation import __main__
from dqn_tf.training import plan, run
from tests import runs

ODD = "-lr=[1e-3]_{a,b}/what? yes* 100%/back\\slash/[!x]/ünï 試験#&;'q\"r\nend"


@pytest.fixture(scope="module")
def logdir(train, tmp_path_factory):
    """Returns a directory that nearly every character has a part in, with a run that was trained in it and resumed."""
    top = tmp_path_factory.mktemp("odd") / ODD
    model, tensorboard = top / "model [1]", top / "tensorboard\\"
    places = [f"--model_dir={model}", f"--tensorboard_dir={tensorboard}"]
    train(top / "run", "--train_env_steps=240", *places)
    return train(top / "run", "--train_env_steps=480", "--resume=must", *places)


def test_run_in_a_directory_of_any_name_is_resumed_and_copied_to_others(logdir):
    assert runs.read_json(logdir / "summary.json")["env_steps"] == 480
    for name in ("model [1]/q_network.keras", "model [1]/variables/variables.index"):
        assert (logdir.parent / name).is_file()
    assert len(list((logdir.parent / "tensorboard\\").iterdir())) == 2  # one of each command


def test_run_in_a_directory_of_any_name_is_followed(logdir):
    argv = ["train.py", "--task_type=evaluator", f"--logdir={logdir}"]
    assert run.evaluate(plan.make(*flags.parse(argv), {}, time.time(), flags.typed(argv))) == 0
    assert runs.rows(logdir / "evaluator", "eval/") == runs.rows(logdir, "eval/")[-1:]


def test_run_in_a_directory_of_any_name_is_evaluated(logdir, capsys):
    assert __main__.main([f"--logdir={logdir}", "--episodes=1"]) == 0
    assert json.loads(capsys.readouterr().out)["eval_episodes"] == 1

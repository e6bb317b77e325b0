"""--stop_at_return ends a run at the evaluation that reaches it; schedules of a run that is made longer."""

import logging
import time

import pytest

from dqn_tf.config import flags
from dqn_tf.reporting import trend
from dqn_tf.training import plan
from tests import runs

# Returns of this environment do not depend on the policy: 150 steps of reward 1.
FIXED = ["--env=tests.environments:Fixed-v0", "--eval_max_episode_steps=150"]


@pytest.fixture
def told(monkeypatch, caplog):
    """Returns a function that returns the lines of the log so far."""
    monkeypatch.setattr(logging.getLogger("dqn_tf"), "propagate", True)
    caplog.set_level(logging.INFO, "dqn_tf")
    return lambda: [record.getMessage() for record in caplog.records]


def made(logdir, *argv):
    found = plan.make(*flags.parse(["train.py", *runs.SMALL, f"--logdir={logdir}", *argv]), {}, time.time())
    found.directory.abandon()
    return found


def test_run_ends_saved_at_the_first_evaluation_that_reaches_the_goal(train, tmp_path, told):
    train(tmp_path, *FIXED, "--stop_at_return=150")
    summary = runs.read_json(tmp_path / "summary.json")
    assert summary["env_steps"] == 400 == runs.checkpoints(tmp_path)[-1]
    assert (summary["last_eval_return_mean"], summary["eval_return_mean"]) == (150.0, 150.0)
    assert any("--stop_at_return=150" in line for line in told())
    assert made(tmp_path, *FIXED, "--stop_at_return=150").is_finished
    assert made(tmp_path, *FIXED, "--stop_at_return=100").is_finished
    assert not made(tmp_path, *FIXED, "--stop_at_return=151").is_finished
    assert not made(tmp_path, *FIXED).is_finished


def test_run_whose_goal_is_out_of_reach_goes_to_its_end(train, tmp_path):
    train(tmp_path, *FIXED, "--stop_at_return=150.5")
    assert runs.read_json(tmp_path / "summary.json")["env_steps"] == 1200


def test_run_that_ended_at_its_goal_goes_on_to_the_same_bits(train, tmp_path):
    train(tmp_path / "whole", *FIXED, "--learning_rate_schedule=constant")
    train(tmp_path / "stopped", *FIXED, "--learning_rate_schedule=constant", "--stop_at_return=10")
    train(tmp_path / "stopped", *FIXED, "--learning_rate_schedule=constant")
    assert runs.bits(tmp_path / "stopped") == runs.bits(tmp_path / "whole")


def test_run_that_is_resumed_at_its_goal_trains_no_further(train, tmp_path):
    train(tmp_path, *FIXED, "--stop_at_return=150")
    (tmp_path / "summary.json").unlink()  # as if it had been killed before its end
    train(tmp_path, *FIXED, "--stop_at_return=150")
    assert runs.read_json(tmp_path / "summary.json")["env_steps"] == 400


@pytest.mark.parametrize(
    "argv, expected",
    [
        (["--stop_at_return=5", "--eval_period=0"], "--stop_at_return=5 needs evaluations during the run, and"),
        (["--stop_at_return=high"], "--stop_at_return=high must be a number."),
        (["--stop_at_return=5", "--evaluated_by=evaluator"], "--stop_at_return=5 needs the chief's evaluations"),
        (
            ["--learning_rate_decay_env_steps=200", "--learning_rate_schedule=linear"],
            "--learning_rate_decay_env_steps=200 must be above --learning",
        ),
        (["--learning_rate_final=0.1", "--preset=none"], "--learning_rate_final=0.1 has no effect without"),
        (
            ["--learning_rate_decay=0.1", "--learning_rate_schedule=constant"],
            "--learning_rate_decay=0.1 has no effect without --learning_rate_schedule=inverse_time",
        ),
    ],
)
def test_goals_and_schedules_that_cannot_be_are_one_line(argv, expected, tmp_path):
    with pytest.raises(plan.ConfigError) as raised:
        made(tmp_path, *argv)
    assert [line.startswith(expected) for line in raised.value.problems] == [True]


def rates(logdir):
    return {row["env_steps"]: row["train/learning_rate"] for row in runs.rows(logdir, "train/learning_rate")}


def test_schedule_of_its_own_length_is_the_same_in_a_longer_run(train, tmp_path, warnings):
    argv = ["--learning_rate=0.01", "--learning_rate_final=0.002", "--learning_rate_decay_env_steps=600"]
    argv.append("--learning_rate_schedule=linear")
    train(tmp_path / "short", *argv, "--train_env_steps=800")
    train(tmp_path / "long", *argv)
    short, long = rates(tmp_path / "short"), rates(tmp_path / "long")
    assert short.items() <= long.items() and long[400] == pytest.approx(0.006) and long[1200] == pytest.approx(0.002)
    train(tmp_path / "short", *argv)  # made longer
    assert rates(tmp_path / "short") == long and runs.bits(tmp_path / "short") == runs.bits(tmp_path / "long")
    assert not any("learning rate" in line for line in warnings())


def test_schedule_over_the_whole_run_that_is_made_longer_says_where_it_jumps(train, tmp_path, warnings):
    argv = ["--preset=none", "--learning_rate=0.01", "--learning_rate_schedule=linear", "--replay=prioritized"]
    train(tmp_path, *argv, "--train_env_steps=800")
    train(tmp_path, *argv, "--train_env_steps=1200")
    found = [line for line in warnings() if "--train_env_steps was 800 and is 1200" in line]
    assert len(found) == 2
    assert "learning rate goes from 0 to 0.004, because --learning_rate_schedule=linear went over 800 env" in found[0]
    assert "--learning_rate_decay_env_steps=800 keeps the old schedule" in found[0]
    assert "the importance exponent goes from 1 to 0.8" in found[1]


def test_schedule_that_is_given_another_length_says_where_it_jumps(train, tmp_path, warnings):
    argv = ["--preset=none", "--learning_rate=0.01", "--learning_rate_schedule=linear", "--train_env_steps=800"]
    train(tmp_path, *argv, "--learning_rate_decay_env_steps=600")
    train(tmp_path, *argv, "--learning_rate_decay_env_steps=1000", "--train_env_steps=1200")
    [found] = [line for line in warnings() if "the learning rate goes from" in line]
    assert "from 0 to 0.0025" in found and "--learning_rate_decay_env_steps=600 keeps the old schedule" in found


def test_advice_of_the_warning_keeps_the_schedule(train, tmp_path, warnings):
    argv = ["--preset=none", "--learning_rate=0.01", "--learning_rate_schedule=linear"]
    train(tmp_path, *argv, "--train_env_steps=800")
    train(tmp_path, *argv, "--train_env_steps=1200", "--learning_rate_decay_env_steps=800")
    assert not any("goes from" in line for line in warnings())
    assert rates(tmp_path)[1200] == 0


@pytest.mark.parametrize("is_improving", [True, False])
def test_run_that_was_still_improving_says_so(is_improving, train, tmp_path, told, monkeypatch):
    seen = []
    monkeypatch.setattr(trend, "find", lambda returns: seen.append(returns) or trend.Trend(3.0, 5.0, is_improving))
    train(tmp_path)
    assert seen == [[row["eval/return_mean"] for row in runs.rows(tmp_path, "eval/return_mean")]]
    lines = [line for line in told() if line.startswith("still improving: evaluations of the last third of the run")]
    assert len(lines) == is_improving and all("have a mean of 5, those of the third before 3" in one for one in lines)

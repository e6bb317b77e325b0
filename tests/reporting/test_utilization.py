"""Shares of the time that the actor and the learner waited, by hand."""

import pytest

from dqn_tf.reporting import utilization
from tests import runs


def shares(actor, learner):
    return {"actor_wait_share": pytest.approx(actor), "learner_wait_share": pytest.approx(learner)}


def test_shares_are_what_is_left_of_the_rounds():
    counted = utilization.Utilization()
    counted.add(8.0, acting=2.0, learning=8.0)
    assert counted.since_last() == shares(1 - 2 / 8, 0)


def test_shares_of_several_rounds_are_of_their_sums():
    counted = utilization.Utilization()
    counted.add(8.0, acting=2.0, learning=8.0)
    counted.add(2.0, acting=2.0, learning=1.0)
    assert counted.since_last() == shares(1 - 4 / 10, 1 - 9 / 10)


def test_since_last_begins_anew_each_time():
    counted = utilization.Utilization()
    assert counted.since_last() == {}
    counted.add(8.0, acting=2.0, learning=8.0)
    counted.since_last()
    assert counted.since_last() == {}
    counted.add(4.0, acting=4.0, learning=1.0)
    assert counted.since_last() == shares(0, 1 - 1 / 4)


def test_overall_leaves_out_the_first_round_which_compiles():
    counted = utilization.Utilization()
    assert counted.overall() == {}
    counted.add(100.0, acting=1.0, learning=100.0)
    assert counted.overall() == {}
    counted.add(4.0, acting=4.0, learning=1.0)
    counted.since_last()
    counted.add(6.0, acting=1.0, learning=6.0)
    assert counted.overall() == shares(1 - 5 / 10, 1 - 7 / 10)
    assert counted.overall() == shares(1 - 5 / 10, 1 - 7 / 10)  # nothing is used up


def test_shares_stay_from_0_to_1_where_clocks_disagree():
    counted = utilization.Utilization()
    counted.add(4.0, acting=4.001, learning=-0.001)
    assert counted.since_last() == {"actor_wait_share": 0.0, "learner_wait_share": 1.0}


def test_run_that_takes_turns_waits_for_one_at_any_time(train, tmp_path):
    train(tmp_path, "--train_env_steps=400", "--nooverlap")
    summary = runs.read_json(tmp_path / "summary.json")
    acting, learning = (1 - summary[name] for name in ("actor_wait_share", "learner_wait_share"))
    assert acting > 0 and learning > 0 and acting + learning <= 1

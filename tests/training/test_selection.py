"""Which weights are exported: of the chief's evaluations, or of an evaluator's that comes, is late, or never comes."""

import types

import numpy as np
import pytest

from dqn_tf.config import schema
from dqn_tf.persistence import best_model, progress
from dqn_tf.training import selection

LAST, EARLIER, BETTER = [np.full(2, 1.0)], [np.full(2, 2.0)], [np.full(2, 3.0)]


def found(evaluated, best_return, weights=BETTER):
    return best_model.Best(evaluated, 5.0, best_return, 400, 7.5, weights)


@pytest.fixture
def settle(tmp_path, monkeypatch):
    """Returns a function that settles the best of a run at 1200 env steps, whose last weights reach 10.

    It returns the weights, Progress, and how often the chief has evaluated.
    """
    monkeypatch.setattr(selection, "_POLL_SECONDS", 0.0)

    def settle(told, is_followed=True, **fields):
        (tmp_path / "evaluator").mkdir(exist_ok=True)
        if told:
            best_model.write(tmp_path / "evaluator", told)
        at, evaluations = progress.Progress(env_steps=1200, **fields), []
        kept = types.SimpleNamespace(weights=EARLIER)
        kept.get_weights, kept.set_weights = lambda: kept.weights, lambda weights: setattr(kept, "weights", weights)
        parts = types.SimpleNamespace(
            best_model=kept,
            is_followed=is_followed,
            learner=types.SimpleNamespace(weights=lambda: LAST),
            policy=types.SimpleNamespace(load=lambda weights: None),
            spec=types.SimpleNamespace(reward_threshold=None),
            evaluator=types.SimpleNamespace(evaluate=lambda *_: evaluations.append(1) or np.array([8.0, 12.0])),
        )
        reporter = types.SimpleNamespace(evaluated=lambda *_: None, wall_seconds=lambda: 9.0)
        storage = types.SimpleNamespace(pull_best_or_warn=lambda: None, is_private=False)
        directory = types.SimpleNamespace(path=tmp_path)
        short = schema.Config(cluster=schema.Cluster(cluster_timeout=0))
        selection.settle(short, parts, at, reporter, storage, directory, lambda: None)
        return kept.weights, at, len(evaluations)

    return settle


def test_settle_of_a_run_whose_last_weights_were_evaluated_keeps_the_best(settle):
    weights, _, evaluations = settle(None, is_followed=False, evaluated_env_steps=1200, best_return=20.0)
    assert (weights, evaluations) == (EARLIER, 0)


@pytest.mark.parametrize("reached, expected", [(None, LAST), (10.0, LAST), (20.0, EARLIER)])
def test_settle_of_a_run_whose_last_weights_were_not_evaluated_evaluates_them(settle, reached, expected):
    weights, at, evaluations = settle(None, is_followed=False, evaluated_env_steps=800, best_return=reached)
    assert (weights, evaluations, at.evaluated_env_steps) == (expected, 1, 1200)


def test_settle_of_a_run_that_an_evaluator_followed_before_knows_its_best(settle, warnings):
    weights, at, evaluations = settle(found(800, 15.0), is_followed=False, evaluated_env_steps=1000, best_return=12.0)
    assert np.array_equal(weights, BETTER) and (at.best_return, evaluations) == (15.0, 1) and warnings() == []


def test_settle_with_an_evaluator_that_is_done_takes_its_best(settle, warnings):
    weights, at, evaluations = settle(found(1200, 15.0))
    assert np.array_equal(weights, BETTER) and evaluations == 0 and warnings() == []
    assert (at.last_return, at.best_return, at.threshold_env_steps, at.threshold_seconds) == (5.0, 15.0, 400, 7.5)


@pytest.mark.parametrize("reached, expected", [(5.0, LAST), (15.0, BETTER)])
def test_settle_with_an_evaluator_that_is_late_evaluates_the_last_weights_too(settle, warnings, reached, expected):
    weights, at, evaluations = settle(found(800, reached))
    assert np.array_equal(weights, expected) and evaluations == 1
    assert (at.evaluated_env_steps, at.best_return) == (1200, max(10.0, reached))
    [line] = warnings()
    assert "has said nothing new for 0 s (--cluster_timeout): the last model is evaluated here" in line


def test_settle_with_an_evaluator_that_never_comes_evaluates_the_last_weights(settle, warnings):
    weights, _, evaluations = settle(None)
    assert (weights, evaluations) == (LAST, 1)
    assert "the evaluator has not been seen for 0 s" in warnings()[0]


def test_settle_with_the_best_of_another_network_passes_it_over(settle, warnings):
    weights, _, evaluations = settle(found(1200, 15.0, [np.zeros(3)]))
    assert (weights, evaluations) == (LAST, 1)
    assert warnings() == ["the evaluator's best model is not one of this network: it is passed over"]


def test_best_is_the_later_of_equal_ones_and_notes_when_the_threshold_was_reached():
    made = best_model.add(None, 400, 5.0, EARLIER, 8.0, 1.0)
    made = best_model.add(made, 800, 8.0, BETTER, 8.0, 2.0)
    made = best_model.add(made, 1200, 8.0, LAST, 8.0, 3.0)
    made = best_model.add(made, 1600, 7.0, EARLIER, 8.0, 4.0)
    assert made == best_model.Best(1600, 7.0, 8.0, 800, 2.0, LAST)


def test_best_that_was_written_is_read_and_a_damaged_one_is_none_with_a_warning(tmp_path, warnings):
    assert best_model.read(tmp_path) is None
    best_model.write(tmp_path, found(800, 2.0))
    again = best_model.read(tmp_path)
    assert again.told == found(800, 2.0).told and np.array_equal(again.weights, BETTER)
    content = (tmp_path / best_model.NAME).read_bytes()
    for damaged in (content[:-9], b"", b"PK"):
        (tmp_path / best_model.NAME).write_bytes(damaged)
        assert best_model.read(tmp_path) is None
    best_model.write(tmp_path, found(True, 2.0))
    assert best_model.read(tmp_path) is None
    assert len(warnings()) == 4

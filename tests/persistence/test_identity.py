"""What a resumed run may have other than before, and what is told of it."""

import pytest

from dqn_tf.config import schema, settings
from dqn_tf.persistence import identity

OLD = settings.to_json(schema.Config())


@pytest.mark.parametrize(
    "changed, told",
    [
        ({"learner_threads": 1}, ["hardware.learner_threads was 0 and is 1"]),
        ({"jit_compile": "true"}, ["hardware.jit_compile was auto and is true"]),
        ({"strategy": "mirrored"}, ["cluster.strategy was default and is mirrored"]),
        ({"eval_episodes": 5, "eval_period": 0}, 2),
        ({"train_env_steps": 9_000}, ["training.train_env_steps was 50000 and is 9000"]),
        ({"overlap": False, "vectorization": "async", "checkpoint_period": 9, "log_period": 9, "actor_threads": 9}, []),
    ],
)
def test_changes_are_told_where_they_may_change_the_result(changed, told):
    new = settings.to_json(settings.build(changed))
    assert identity.differences(OLD, new) == []
    found = identity.changes(OLD, new)
    assert found == told or len(found) == told


@pytest.mark.parametrize("changed", [{"precision": "bfloat16"}, {"eval_epsilon": 0.1}, {"eval_max_episode_steps": 9}])
def test_differences_of_what_results_are_computed_and_compared_by_are_refused(changed):
    new = settings.to_json(settings.build(changed))
    ((name, value),) = changed.items()
    (line,) = identity.differences(OLD, new)
    assert f".{name}=" in line and f"this run asks for {value};" in line
    assert identity.changes(OLD, new) == []


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_precisions_of_the_same_network_are_no_difference(precision):
    other = settings.to_json(settings.build({"precision": precision}))
    for old, new in ((OLD, other), (other, OLD)):  # runs of before 0.3 have float32
        assert identity.differences(old, new) == identity.changes(old, new) == []


@pytest.mark.parametrize("name, value", [("log_period", 7), ("checkpoint_period", 7), ("precision", "bfloat16")])
def test_unlike_tells_what_workers_must_have_in_common(name, value):
    (line,) = identity.unlike(OLD, settings.to_json(settings.build({name: value})))
    assert line.startswith(f"--{name}={value} here, and ") and line.endswith("on the chief; give all workers the same.")


@pytest.mark.parametrize(
    "name, value", [("learner_threads", 3), ("replay_device", "host"), ("precision", "float32"), ("overlap", False)]
)
def test_unlike_leaves_what_is_a_workers_own(name, value):
    assert identity.unlike(OLD, settings.to_json(settings.build({name: value}))) == []


def test_unlike_of_a_chief_of_another_version_tells_what_it_lacks():
    chief = {section: dict(leaves) for section, leaves in OLD.items() if section != "replay"}
    assert len(identity.unlike(chief, OLD)) == len(OLD["replay"])


def test_differences_of_a_damaged_section_are_told():
    (line, *_) = identity.differences({**OLD, "learning": 5}, OLD)
    assert line.startswith("learning.optimizer=5, this run asks for adam; ")


def test_changed_names_versions_that_both_have():
    assert identity.changed({"keras": "3.1", "of_old": "1"}, {"keras": "3.2", "of_new": "1"}) == [
        "keras was 3.1 and is 3.2"
    ]

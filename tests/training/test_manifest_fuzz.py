"""Manifests and states that somebody made up: read, or refused in one line."""

import dataclasses
import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from dqn_tf.training import archive, manifest, state
from dqn_tf.training.archive import File
from dqn_tf.training.manifest import Manifest, Segment, Worker

ANY = hypothesis.settings(deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
SOAK = hypothesis.settings(ANY, max_examples=10_000)
VALUES = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers() | strategies.floats() | strategies.text(),
    lambda inner: strategies.lists(inner, max_size=3) | strategies.dictionaries(strategies.text(), inner, max_size=3),
    max_leaves=8,
)
FILE = File("ckpt-100/model.index", 3, "ab")
MADE = Manifest(100, {"env_steps": 100}, (FILE,), (Worker(FILE, 5, (Segment(0, 5, FILE),)),), {"a": 1}, {}, {})


def places(tree, path=()):
    """Returns the paths of all branches of a tree."""
    branches = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path, *(place for name, branch in branches for place in places(branch, (*path, name)))]


def put(tree, path, value):
    for name in path[:-1]:
        tree = tree[name]
    tree[path[-1]] = value


def look(root, data):
    tree = json.loads(json.dumps({"format": 1, **dataclasses.asdict(MADE)}))
    for _ in range(data.draw(strategies.integers(1, 3))):
        path = data.draw(strategies.sampled_from(places(tree)[1:]))
        put(tree, path, data.draw(VALUES))
        if data.draw(strategies.booleans()):
            break
    place = manifest.directory(root, 100)
    place.mkdir(exist_ok=True)
    has_checksum = data.draw(strategies.booleans())
    (place / "manifest.json").write_text(manifest._text(tree) if has_checksum else json.dumps(tree))
    try:
        made = manifest.check(root, 100)
    except archive.Damaged as error:
        assert "\n" not in str(error)
    else:
        assert made == MADE


def examine(root, data):
    content = data.draw(strategies.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode()))
    place = manifest.directory(root, 100)
    place.mkdir(exist_ok=True)
    (place / "manifest.json").write_bytes(content)
    with pytest.raises(archive.Damaged):
        manifest.check(root, 100)


@pytest.mark.parametrize("attempt", [look, examine])
def test_manifest_that_was_changed_is_read_or_refused(tmp_path_factory, attempt):
    root = tmp_path_factory.mktemp("manifests")
    ANY(hypothesis.given(strategies.data())(lambda data: attempt(root, data)))()


@pytest.mark.soak
@pytest.mark.parametrize("attempt", [look, examine])
def test_many_manifests_that_were_changed_are_read_or_refused(tmp_path_factory, attempt):
    root = tmp_path_factory.mktemp("manifests")
    SOAK(hypothesis.given(strategies.data())(lambda data: attempt(root, data)))()


@ANY
@hypothesis.given(VALUES)
def test_state_that_was_made_up_is_read_or_refused(value):
    try:
        state.WorkerState.from_arrays({"state": np.array(json.dumps(value)), "actions": np.zeros((1, 1))})
    except archive.Damaged:
        pass

"""Manifests and states that somebody made up: read, or refused in one line."""

import copy
import dataclasses
import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from dqn_tf.persistence import archive, manifest, worker_state
from tests.training import made

ANY = hypothesis.settings(deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
SOAK = hypothesis.settings(ANY, max_examples=10_000)
VALUES = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers() | strategies.floats() | strategies.text(),
    lambda inner: strategies.lists(inner, max_size=3) | strategies.dictionaries(strategies.text(), inner, max_size=3),
    max_leaves=8,
)
TREE = json.loads(json.dumps({"format": manifest.FORMAT, **dataclasses.asdict(made.of())}))


def places(tree, path=()):
    """Returns the paths of all branches of a tree."""
    branches = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path, *(place for name, branch in branches for place in places(branch, (*path, name)))]


def put(tree, path, value):
    for name in path[:-1]:
        tree = tree[name]
    tree[path[-1]] = value


def read(root, content):
    """Returns the Manifest of a checkpoint whose manifest has this content."""
    place = manifest.directory(root, 160)
    place.mkdir(exist_ok=True)
    (place / "manifest.json").write_bytes(content)
    return manifest.read(root, 160)


def look(root, data):
    tree = copy.deepcopy(TREE)
    for _ in range(data.draw(strategies.integers(1, 3))):
        path = data.draw(strategies.sampled_from(places(tree)[1:]))
        put(tree, path, data.draw(VALUES))
        if data.draw(strategies.booleans()):
            break
    has_checksum = data.draw(strategies.booleans())
    try:
        read(root, (manifest._text(tree) if has_checksum else json.dumps(tree)).encode())
    except archive.Damaged as error:
        assert str(error).isprintable()
    else:
        assert has_checksum


def examine(root, data):
    content = data.draw(strategies.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode()))
    with pytest.raises(archive.Damaged):
        read(root, content)


@pytest.mark.parametrize("attempt", [look, examine])
def test_manifest_that_was_changed_is_read_or_refused(tmp_path_factory, attempt):
    root = tmp_path_factory.mktemp("manifests")
    ANY(hypothesis.given(strategies.data())(lambda data: attempt(root, data)))()


@pytest.mark.soak
@pytest.mark.parametrize("attempt", [look, examine])
def test_many_manifests_that_were_changed_are_read_or_refused(tmp_path_factory, attempt):
    root = tmp_path_factory.mktemp("manifests")
    SOAK(hypothesis.given(strategies.data())(lambda data: attempt(root, data)))()


def worker(index=0, count=1, **changes):
    part = TREE["workers"][0]
    state_file = {**part["state"], "path": f"ckpt-160/worker-{index}-of-{count}.npz"}
    return {**part, "state": state_file, **changes}


def segment(first, end, name=None):
    path = name or f"ckpt-160/replay-0-of-1-{first}.npz"
    return {"first": first, "end": end, "file": {"path": path, "size": 3, "sha256": "ab" * 32}}


def files(*paths):
    return [{"path": path, "size": 3, "sha256": "ab" * 32} for path in paths]


# The defaults: rounds of 80 env steps, 16 environments; one worker with transitions 0 to 127.
FORGERIES = [
    (("env_steps",), 161),
    (("env_steps",), 160.0),
    (("env_steps",), True),
    (("env_steps",), -80),
    (("progress", "env_steps"), 80),
    (("progress", "env_steps"), 161),
    (("progress", "num_episodes"), 161),
    (("progress", "num_episodes"), -1),
    (("progress", "num_episodes"), 1.5),
    (("progress", "wall_seconds"), -1.0),
    (("progress", "wall_seconds"), float("nan")),
    (("progress", "wall_seconds"), 10**400),
    (("progress", "evaluation_due"), 0),
    (("progress", "best_return"), float("inf")),
    (("progress", "best_return"), 5.0),  # of no evaluation
    (("progress", "threshold_env_steps"), 160),  # without the seconds
    (("progress", "evaluated_env_steps"), 80),
    (("progress", "of_another"), 1),
    (("progress",), {"env_steps": 160}),
    (("progress",), {**TREE["progress"], "last_return": 2.0, "best_return": 1.0, "evaluated_env_steps": 160}),
    (("progress",), {**TREE["progress"], "last_return": 2.0, "best_return": 2.0, "evaluated_env_steps": 240}),
    (("model",), []),
    (("model",), files("ckpt-160/model.index")),
    (("model",), files("ckpt-160/model.data-00000-of-00001")),
    (("model",), files("ckpt-80/model.index", "ckpt-80/model.data-00000-of-00001")),
    (("model",), files("ckpt-160/model.index", "ckpt-160/model.data-00000-of-00002")),
    (("model",), files("ckpt-160/model.index", "ckpt-160/model.data-00000-of-00001", "ckpt-160/notes")),
    (("model",), files("ckpt-160/other.index", "ckpt-160/other.data-00000-of-00001")),
    (("model",), files("../model.index", "../model.data-00000-of-00001")),
    (("model", 0, "path"), "/etc/passwd"),
    (("model", 0, "size"), -1),
    (("model", 0, "size"), True),
    (("model", 0, "sha256"), "AB"),
    (("workers",), []),
    (("workers",), [worker(), worker()]),
    (("workers",), [worker(index, 1000) for index in range(1000)]),
    (("workers",), [worker(index, 3, num_added=0, replay=[]) for index in range(3)]),  # of 16 environments
    (("workers", 0, "state", "path"), "ckpt-80/worker-0-of-1.npz"),
    (("workers", 0, "state", "path"), "ckpt-160/model.index"),
    (("workers", 0, "num_added"), 10**30),
    (("workers", 0, "num_added"), 127),
    (("workers", 0, "num_added"), 128.0),
    (("workers", 0, "num_added"), "128"),
    (("workers", 0), worker(num_added=161, replay=[segment(0, 161)])),  # more than env steps
    (("workers", 0, "replay"), []),
    (("workers", 0, "replay"), [segment(1, 128)]),  # the first one is held, and not there
    (("workers", 0, "replay"), [segment(0, 64), segment(65, 128)]),
    (("workers", 0, "replay"), [segment(0, 64), segment(63, 128)]),
    (("workers", 0, "replay"), [segment(64, 128), segment(0, 64)]),
    (("workers", 0, "replay"), [segment(0, 0), segment(0, 128)]),
    (("workers", 0, "replay"), [segment(-1, 128)]),
    (("workers", 0, "replay"), [segment(0, 128.0)]),
    (("workers", 0, "replay"), [segment(0, 128, "ckpt-160/replay-0-of-1-8.npz")]),  # shifted
    (("workers", 0, "replay"), [segment(0, 128, "ckpt-160/replay-1-of-2-0.npz")]),
    (("workers", 0, "replay"), [segment(0, 128, "ckpt-240/replay-0-of-1-0.npz")]),  # of a later one
    (("workers", 0, "replay"), [segment(0, 128, "ckpt-160/../ckpt-80/replay-0-of-1-0.npz")]),
    (("journal",), {"summary.json": 5}),
    (("journal",), {"../metrics.jsonl": 5}),
    (("journal",), {"metrics.jsonl": -1}),
    (("journal",), {"metrics.jsonl": 10**30}),
    (("config",), {"training": 5}),
    (("config", "learning", "n_step"), "three"),
    (("config", "learning", "n_step"), 0),
    (("config", "learning", "of_another"), 1),
    (("config", "training", "num_envs"), 10**30),
    (("versions",), {"python": 3}),
    (("versions",), {"python": "3" * 1000}),
    (("format",), 0),
    (("of_another",), {}),
]


def test_manifest_of_what_no_run_can_have_come_to_is_refused(tmp_path):
    read(tmp_path, manifest._text(TREE).encode())
    accepted = []
    for path, value in FORGERIES:
        tree = copy.deepcopy(TREE)
        put(tree, path, value)
        try:
            read(tmp_path, manifest._text(tree).encode())
            accepted.append((path, value))
        except archive.Damaged as error:
            assert str(error).isprintable() and len(str(error)) < 500
    assert accepted == []


@ANY
@hypothesis.given(VALUES)
def test_state_that_was_made_up_is_read_or_refused(value):
    try:
        worker_state.WorkerState.from_arrays({"state": np.array(json.dumps(value)), "action": np.zeros(1)}, 1, 2, 0, 1)
    except archive.Damaged:
        pass

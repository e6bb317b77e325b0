"""A run writes and removes its own files only: no link is followed, nobody else's file goes."""

import contextlib
import json
import os

import pytest

from dqn_tf.config import schema, settings
from dqn_tf.persistence import manifest, own_files, run_directory
from dqn_tf.reporting import metrics, reward_curve
from tests.training import made


@pytest.fixture
def victim(tmp_path):
    path = tmp_path / "victim"
    path.write_text("precious")
    return path


def test_create_in_the_place_of_a_link_leaves_what_it_points_to(tmp_path, victim):
    (tmp_path / "link").symlink_to(victim)
    with own_files.create(tmp_path / "link") as file:
        file.write(b"new")
    assert victim.read_text() == "precious" and not (tmp_path / "link").is_symlink()


def test_open_own_of_a_link_or_fifo_is_refused(tmp_path, victim):
    (tmp_path / "link").symlink_to(victim)
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "fifo"):
        with pytest.raises(OSError):
            own_files.open_own(tmp_path / name)


def test_acquire_where_the_lock_is_a_link_refuses_and_leaves_its_target(tmp_path, victim):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(victim)
    with pytest.raises(schema.ConfigError, match="cannot be written"):
        run_directory.RunDirectory(str(tmp_path / "run")).acquire()
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("name", ["metrics.jsonl", "model", "checkpoints"])
def test_check_where_a_place_of_the_run_is_a_link_refuses(tmp_path, victim, name):
    (tmp_path / name).symlink_to(victim)
    with pytest.raises(schema.ConfigError, match="is a link|Not a directory"):
        run_directory.RunDirectory(str(tmp_path)).check(settings.build({}))


@pytest.mark.parametrize("name", ["metrics.jsonl", "config.json", "reward_curve.png", "evaluator/best.npz"])
def test_check_of_somebody_elses_file_refuses(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("{}\n")
    with pytest.raises(schema.ConfigError, match="which no run there has made"):
        run_directory.RunDirectory(str(tmp_path)).check(settings.build({}))
    assert (tmp_path / name).read_text() == "{}\n"


def test_metrics_writer_leaves_event_files_of_others_and_drops_its_own(tmp_path):
    theirs = tmp_path / "events.out.tfevents.1.theirs"
    theirs.write_bytes(b"theirs")
    first = metrics.MetricsWriter(tmp_path, {})
    first.flush()
    (own,) = [name for name in first.journal() if name.startswith("events")]
    again = metrics.MetricsWriter(tmp_path, {})
    assert {path.name for path in again.dropped} == {own, "metrics.jsonl"}
    assert theirs.read_bytes() == b"theirs" and theirs.name not in again.journal()


def test_prune_leaves_linked_checkpoints_and_notes(tmp_path):
    root, outside = tmp_path / "checkpoints", tmp_path / "outside"
    (root / "ckpt-80").mkdir(parents=True)
    outside.mkdir()
    (root / "ckpt-40").symlink_to(outside)
    for place in (root / "ckpt-80", outside):
        (place / "notes.txt").touch()
        (place / "model.index").touch()
    assert manifest.prune(root, 1) == [root / "ckpt-80" / "model.index"]
    assert sorted(os.listdir(outside)) == ["model.index", "notes.txt"]


def test_abandon_removes_what_acquire_made_and_only_that(tmp_path):
    (tmp_path / "old").mkdir()
    directory = run_directory.RunDirectory(str(tmp_path / "old" / "a" / "b"))
    directory.acquire()
    directory.abandon()
    assert os.listdir(tmp_path) == ["old"] and os.listdir(tmp_path / "old") == []


def test_acquire_on_a_file_system_without_locks_goes_on(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with run_directory.RunDirectory(str(tmp_path / "run")).acquired():
        pass


PLACES = [".lock", ".newest", ".files", ".newest.new", "metrics.jsonl", "config.json", "summary.json"]
PLACES += ["reward_curve.png", "model", "model/q_network.keras"]
PLACES += ["checkpoints", "checkpoints/ckpt-40", "checkpoints/ckpt-80/model.index"]


@pytest.mark.parametrize("place", PLACES)
def test_link_in_the_place_of_what_a_run_writes_leaves_its_target(tmp_path, place):
    for target in ("file", "directory", "nothing"):
        for is_resumed in (False, True):
            check_link(tmp_path / f"{target}, {is_resumed}", place, target, is_resumed)


def check_link(folder, place, target, is_resumed):
    outside, path = folder / "outside", folder / "run" / place
    (outside / "directory").mkdir(parents=True)
    (outside / "directory" / "model.index").write_text("theirs")
    (outside / "file").write_text("theirs\n")
    if is_resumed:
        made.leave(run_directory.RunDirectory(str(folder / "run")), settings.build({}))
    if path.is_dir():
        path.rename(path.with_name("moved"))
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(outside / target)
    with contextlib.suppress(schema.ConfigError):  # one line, exit code 2
        write(run_directory.RunDirectory(str(folder / "run")))
        assert not place.startswith(("metrics", "model")) and place not in (".lock", "checkpoints")
    assert {entry.name for entry in outside.rglob("*")} == {"directory", "file", "model.index"}
    assert (outside / "file").read_text() == "theirs\n"


def write(directory):
    """Does to a directory what a command does there, but for what Keras and TensorFlow write."""
    with directory.acquired():
        directory.check(settings.build({}))
        directory.begin(settings.build({}))
        writer = metrics.MetricsWriter(directory.path, {})
        writer.scalars(40, {"loss": 1.0})
        writer.close()
        manifest.remove_unfinished(directory.checkpoints / "ckpt-80")
        made.leave(directory, settings.build({}), env_steps=320)
        manifest.prune(directory.checkpoints, 1)
        if (directory.path / "reward_curve.png").is_symlink():
            reward_curve.save(reward_curve.draw([], "", None), directory.path / "reward_curve.png")
        directory.write_json("summary.json", {})


@pytest.mark.parametrize("name", ["events.out.tfevents.d/../../victim", "/victim", "", 7])
def test_list_of_own_files_that_names_what_lies_elsewhere_is_read_without_it(tmp_path, name):
    (tmp_path / ".files").write_text(json.dumps({"files": [name, "metrics.jsonl"]}))
    assert own_files.listed(tmp_path) == {"metrics.jsonl"}

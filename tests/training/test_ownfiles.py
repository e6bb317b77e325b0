"""A run writes and removes its own files only: no link is followed, nobody else's file goes."""

import os

import pytest

from dqn_tf import config, settings
from dqn_tf.training import manifest, metrics, ownfiles, rundir


@pytest.fixture
def victim(tmp_path):
    path = tmp_path / "victim"
    path.write_text("precious")
    return path


def test_create_in_the_place_of_a_link_leaves_what_it_points_to(tmp_path, victim):
    (tmp_path / "link").symlink_to(victim)
    with ownfiles.create(tmp_path / "link") as file:
        file.write(b"new")
    assert victim.read_text() == "precious" and not (tmp_path / "link").is_symlink()


def test_open_own_of_a_link_or_fifo_is_refused(tmp_path, victim):
    (tmp_path / "link").symlink_to(victim)
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "fifo"):
        with pytest.raises(OSError):
            ownfiles.open_own(tmp_path / name)


def test_acquire_where_the_lock_is_a_link_refuses_and_leaves_its_target(tmp_path, victim):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(victim)
    with pytest.raises(config.ConfigError, match="cannot be written"):
        rundir.RunDirectory(str(tmp_path / "run")).acquire()
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("name", ["metrics.jsonl", "model", "checkpoints"])
def test_check_where_a_place_of_the_run_is_a_link_refuses(tmp_path, victim, name):
    (tmp_path / name).symlink_to(victim)
    with pytest.raises(config.ConfigError, match="is a link"):
        rundir.RunDirectory(str(tmp_path)).check(settings.build({}))


@pytest.mark.parametrize("name", ["metrics.jsonl", "config.json", "reward_curve.png", "checkpoints"])
def test_check_of_somebody_elses_file_refuses(tmp_path, name):
    (tmp_path / name).write_text("{}\n")
    with pytest.raises(config.ConfigError, match="which no run there has made"):
        rundir.RunDirectory(str(tmp_path)).check(settings.build({}))
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
    directory = rundir.RunDirectory(str(tmp_path / "old" / "a" / "b"))
    directory.acquire()
    directory.abandon()
    assert os.listdir(tmp_path) == ["old"] and os.listdir(tmp_path / "old") == []


def test_acquire_on_a_file_system_without_locks_goes_on(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with rundir.RunDirectory(str(tmp_path / "run")).acquired():
        pass

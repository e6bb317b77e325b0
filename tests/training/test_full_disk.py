"""A disk that takes nothing, or is gone, while a run saves: the run goes on, and only its last checkpoint must be."""

import contextlib
import logging
import resource
import shutil

import pytest

from dqn_tf.training import checkpoints
from tests import runs

PERIODS = ["--checkpoint_period=400", "--log_period=200"]  # 400, 800, 1200


@contextlib.contextmanager
def full_disk():
    """Returns a context in which no file of this process can grow: writes fail, as they do on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def removed(path):
    shutil.rmtree(path)
    yield


@contextlib.contextmanager
def file_in_its_place(path):
    path.rename(path.with_name("away"))
    path.write_text("")
    yield
    path.unlink()
    path.with_name("away").rename(path)


@pytest.fixture
def in_save(monkeypatch):
    """Returns a function that makes the saves at these env steps happen in a context."""

    def in_save(steps, context):
        whole = checkpoints.Checkpoints.save

        def save(self, *arguments):
            with context() if self._progress.env_steps in steps else contextlib.nullcontext():
                return whole(self, *arguments)

        monkeypatch.setattr(checkpoints.Checkpoints, "save", save)

    return in_save


@pytest.fixture
def lines(monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("dqn_tf"), "propagate", True)  # console.set_up turns it off
    return lambda: [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.fixture(scope="module")
def whole(train, tmp_path_factory):
    return runs.fingerprint(train(tmp_path_factory.mktemp("whole"), *PERIODS))


def test_full_disk_while_saving_is_a_warning_and_the_next_checkpoint_is_whole(train, tmp_path, in_save, lines, whole):
    in_save([800], full_disk)
    train(tmp_path, *PERIODS)
    (line,) = [line for line in lines() if line.startswith("checkpoint")]
    assert line.startswith(f"checkpoint {tmp_path}/checkpoints/ckpt-800 cannot be written: ")
    assert line.endswith(f"; the last one is {tmp_path}/checkpoints/ckpt-400")
    found = runs.fingerprint(tmp_path)
    assert {name for name in whole if found[name] != whole[name]} == {"checkpoints"}
    assert runs.checkpoints(tmp_path) == [400, 1200]


@pytest.mark.parametrize("how", [removed, file_in_its_place])
def test_directory_that_goes_away_while_saving_is_no_end(train, tmp_path, in_save, lines, whole, how):
    in_save([800], lambda: how(tmp_path / "checkpoints"))
    train(tmp_path, *PERIODS)
    found = runs.fingerprint(tmp_path)
    assert {name for name in whole if found[name] != whole[name]} == {"checkpoints"}
    assert runs.checkpoints(tmp_path) == ([800, 1200] if how is removed else [400, 1200])


def test_full_disk_at_the_last_checkpoint_ends_with_exit_code_1(train, tmp_path, in_save, lines, whole):
    in_save([1200], full_disk)
    train(tmp_path, *PERIODS, code=1)
    assert lines()[-1] == "the run cannot be written: the last checkpoint, of 1200 env steps, could not be written"
    assert runs.checkpoints(tmp_path) == [400, 800]
    assert not (tmp_path / "summary.json").exists()


def test_run_after_a_full_disk_goes_on_to_the_same(train, tmp_path, monkeypatch, in_save, whole):
    with monkeypatch.context():
        in_save([1200], full_disk)
        train(tmp_path, *PERIODS, code=1)
    monkeypatch.undo()
    train(tmp_path, *PERIODS)
    assert runs.fingerprint(tmp_path) == whole


def test_many_checkpoints_leave_memory_as_it_is(train, tmp_path, monkeypatch):
    whole, resident = checkpoints.Checkpoints.save, []

    def save(self, *arguments):
        with open("/proc/self/statm") as file:
            resident.append(int(file.read().split()[1]) * resource.getpagesize())
        return whole(self, *arguments)

    monkeypatch.setattr(checkpoints.Checkpoints, "save", save)
    train(tmp_path, "--train_env_steps=8000", "--checkpoint_period=40", "--eval_period=0", "--replay_ratio=0.05")
    assert len(resident) == 200
    assert resident[-1] - resident[50] < 20e6

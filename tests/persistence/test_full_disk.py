"""A disk that takes nothing, or is gone, while a run saves: the run goes on, and only its last checkpoint must be."""

import contextlib
import logging
import resource
import shutil
import signal

import pytest

from dqn_tf.config import schema
from dqn_tf.evaluation import evaluator
from dqn_tf.persistence import checkpoints
from dqn_tf.reporting import metrics
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


@pytest.mark.thorough
@pytest.mark.parametrize("how", [removed, file_in_its_place])
def test_directory_that_goes_away_while_saving_is_no_end(train, tmp_path, in_save, lines, whole, how):
    in_save([800], lambda: how(tmp_path / "checkpoints"))
    train(tmp_path, *PERIODS)
    found = runs.fingerprint(tmp_path)
    assert {name for name in whole if found[name] != whole[name]} == {"checkpoints"}
    assert runs.checkpoints(tmp_path) == ([800, 1200] if how is removed else [400, 1200])


@pytest.mark.thorough
def test_full_disk_at_the_last_checkpoint_ends_with_exit_code_1(train, tmp_path, in_save, lines, whole):
    in_save([1200], full_disk)
    train(tmp_path, *PERIODS, code=1)
    assert lines()[-1] == "the run cannot be written: the last checkpoint, of 1200 env steps, could not be written"
    assert runs.checkpoints(tmp_path) == [400, 800]
    assert not (tmp_path / "summary.json").exists()


@pytest.mark.thorough
def test_full_disk_between_checkpoints_loses_no_row(train, tmp_path, monkeypatch, lines, whole):
    write, flushes = metrics.MetricsWriter._write, []

    def write_or_not(self):
        flushes.append(None)
        with full_disk() if 1 < len(flushes) < 4 else contextlib.nullcontext():
            write(self)

    monkeypatch.setattr(metrics.MetricsWriter, "_write", write_or_not)
    train(tmp_path, *PERIODS)
    assert [line for line in lines() if line.startswith("metrics wait in memory: ")] != []
    assert runs.fingerprint(tmp_path) == whole


@pytest.mark.thorough
def test_directory_that_is_removed_while_the_run_goes_on_is_made_anew(train, tmp_path, in_save, lines, whole):
    in_save([800], lambda: removed(tmp_path / "run"))
    train(tmp_path / "run", *PERIODS)
    assert f"{tmp_path}/run was removed; going on in a new one, without the rows so far" in lines()
    assert runs.fingerprint(tmp_path / "run")["tensors"] == whole["tensors"]
    train(tmp_path / "run", *PERIODS, "--train_env_steps=1600")
    assert runs.checkpoints(tmp_path / "run") == [800, 1200, 1600]


@pytest.mark.thorough
def test_signals_in_an_evaluation_and_in_its_making_up_change_nothing(train, tmp_path, monkeypatch, whole):
    evaluate, signals = evaluator.Evaluator.evaluate, [1, 2]

    def evaluate_or_stop(self, policy, seed, check):
        if signals:
            signals.pop()
            signal.raise_signal(signal.SIGTERM)
            check()
        return evaluate(self, policy, seed, check)

    with monkeypatch.context() as patch:
        patch.setattr(evaluator.Evaluator, "evaluate", evaluate_or_stop)
        train(tmp_path, *PERIODS, code=143)
        assert runs.checkpoints(tmp_path) == [400]
        train(tmp_path, *PERIODS, code=143)
        assert runs.checkpoints(tmp_path) == [400]
    train(tmp_path, *PERIODS)
    assert runs.fingerprint(tmp_path) == whole


@pytest.mark.thorough
def test_signal_in_the_last_save_is_followed(train, tmp_path, in_save, whole):
    @contextlib.contextmanager
    def signalled():
        signal.raise_signal(signal.SIGTERM)
        yield

    in_save([1200], signalled)
    train(tmp_path, *PERIODS, code=143)
    assert not (tmp_path / "summary.json").exists()
    in_save([], signalled)
    train(tmp_path, *PERIODS)
    assert runs.fingerprint(tmp_path) == whole


@pytest.mark.thorough
def test_loss_of_all_checkpoints_does_not_start_over(train, tmp_path):
    train(tmp_path, *PERIODS)
    shutil.rmtree(tmp_path / "checkpoints")
    with pytest.raises(schema.ConfigError, match="no checkpoint is good.*ckpt-1200"):
        train(tmp_path, *PERIODS, "--train_env_steps=1600")
    assert runs.rows(tmp_path)


def test_run_after_a_full_disk_goes_on_to_the_same(train, tmp_path, monkeypatch, in_save, whole):
    with monkeypatch.context():
        in_save([1200], full_disk)
        train(tmp_path, *PERIODS, code=1)
    monkeypatch.undo()
    train(tmp_path, *PERIODS)
    assert runs.fingerprint(tmp_path) == whole


@pytest.mark.thorough
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

"""The end of a run: whatever is killed or fails there, a run that says it is finished has delivered."""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import signal
import time
import types

import keras
import pytest
import tensorflow as tf

from dqn_tf.config import flags
from dqn_tf.evaluation import evaluator, export
from dqn_tf.persistence import archive, locations, manifest, mirror, progress, run_directory, storage
from dqn_tf.reporting import hyperparameters, reporter, reward_curve
from dqn_tf.training import finish, plan
from tests import marks, runs

ENV_STEPS = 1200


class Killed(BaseException):
    """What a process that is killed does: nothing more."""


class Killer:
    """Kills the process at the write of that number: before it, or where `is_late` when it is half done."""

    def __init__(self, number, is_late):
        self.number, self.is_late, self.count = number, is_late, 0

    def wrap(self, function, is_torn=lambda *args: False):
        def killed(*args, **kwargs):
            self.count += 1
            if self.count == self.number:
                if self.is_late:
                    function(*args, **kwargs)
                if self.is_late and is_torn(*args):
                    path = next(path for path in reversed(args) if os.path.exists(path))
                    os.truncate(path, os.path.getsize(path) // 2)
                raise Killed
            return function(*args, **kwargs)

        return killed


class Bucket(locations.Locations):
    """A directory that is taken for a bucket."""

    @property
    def is_bucket(self):
        return True


@pytest.fixture(scope="module")
def finished(train, tmp_path_factory):
    return train(tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture
def command(finished, tmp_path, monkeypatch):
    """Returns a function that does what the command does at the end of this run, trained but not finished, in no time.

    And one that tells whether that run is finished, and one that returns what lacks in its places.
    """
    whole = {path.relative_to(finished / "model"): path.read_bytes() for path in files(finished / "model")}

    def write_model(network, space, directory):
        for name, content in whole.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            write(directory / name, content)

    def write(path, content):
        path.write_bytes(content)

    monkeypatch.setattr(export, "export", write_model)
    monkeypatch.setattr(reward_curve, "save", lambda figure, path: write(path, b"curve"))
    monkeypatch.setattr(evaluator.Evaluator, "evaluate", lambda *_: tf.range(3.0).numpy())
    where = {"run": tmp_path / "run", "model": tmp_path / "m", "tensorboard": tmp_path / "t", "results": tmp_path / "r"}
    shutil.copytree(finished, where["run"], ignore=shutil.ignore_patterns("summary.json", "model", "reward_curve.png"))
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    made = plan.make(*flags.parse(["train.py", *runs.SMALL, f"--logdir={tmp_path}/run"]), {}, time.time())
    made.directory.release()

    class Command:
        is_bucket = False

        def __call__(self, killer=None):
            kind = Bucket if self.is_bucket else locations.Locations
            directory = run_directory.RunDirectory(str(tmp_path / "scratch" if self.is_bucket else where["run"]))
            now = dataclasses.replace(
                made, directory=directory, locations=kind(**{name: str(path) for name, path in where.items()})
            )
            with directory.acquired(), pytest.MonkeyPatch.context() as patch:
                files_of = storage.Storage(now.locations, directory, "chief")
                files_of.open()
                if now.is_finished:
                    files_of.deliver()
                    return
                files_of.claim()
                files_of.pull("events.out.tfevents.*", "metrics.jsonl", "checkpoints/ckpt-*/*")
                if killer:
                    patch.setattr(mirror, "_copy", killer.wrap(mirror._copy, self.is_torn))
                    patch.setattr(mirror, "_write", killer.wrap(mirror._write, lambda *args: True))
                    patch.setattr(tf.io.gfile, "remove", killer.wrap(tf.io.gfile.remove))
                    patch.setattr(archive, "write_whole", killer.wrap(archive.write_whole))
                    patch.setattr(pathlib.Path, "unlink", killer.wrap(pathlib.Path.unlink))
                    patch.setattr(pathlib.Path, "write_bytes", killer.wrap(pathlib.Path.write_bytes))
                at = progress.Progress(env_steps=ENV_STEPS, evaluated_env_steps=ENV_STEPS, best_return=1.0)
                journal = manifest.read(directory.checkpoints, ENV_STEPS).journal
                told = reporter.Reporter(now.config, directory, files_of, at, 500, True, time.time(), None, journal)
                parts = types.SimpleNamespace(
                    best_model=network,
                    policy=types.SimpleNamespace(load=lambda weights: None),
                    learner=types.SimpleNamespace(num_updates=500),
                    placement=types.SimpleNamespace(num_workers=1, num_replicas=1),
                    evaluator=evaluator.Evaluator(now.environments, 1, 1),
                    is_followed=False,
                )
                heartbeat = types.SimpleNamespace(heard_by_all=lambda doing: None)
                finish.finish(now, parts, at, told, files_of, {}, heartbeat)

        def is_torn(self, source, target):
            return not target.startswith(str(where["run"]))  # an object of a bucket is there whole, or not

        def is_finished(self):
            return (where["run"] / "summary.json").exists()

        def lacks(self):
            """Returns the files of the places that are not there or not those of the run."""
            names = {"model": {path: where["model"] / path for path in whole if path.name == "q_network.keras"}}
            names["model"] |= {
                path: where["model"] / path.relative_to("saved_model") for path in whole if path.parts[0] != path.name
            }
            wanted = {where["run"] / "model" / path: copy for path, copy in names["model"].items()}
            for name in ("summary.json", "metrics.jsonl", "reward_curve.png", "config.json"):
                wanted[where["run"] / name] = where["results"] / name
            for path in where["run"].glob("events.*"):
                wanted[path] = where["tensorboard"] / path.name
            assert len(wanted) == len(whole) + 4 + len(list(where["run"].glob("events.*")))
            return [
                str(copy)
                for path, copy in wanted.items()
                if not copy.exists() or not path.exists() or copy.read_bytes() != path.read_bytes()
            ]

    made_command = Command()
    made_command.where, made_command.whole = where, whole
    return made_command


def files(path):
    return sorted(found for found in path.rglob("*") if found.is_file())


@pytest.mark.parametrize("is_bucket, is_late", [(False, True), *marks.thorough((True, True), (False, False))])
def test_run_killed_at_any_write_of_its_end_is_not_finished_and_the_same_command_delivers(
    command, tmp_path, is_bucket, is_late
):
    command.is_bucket = is_bucket
    shutil.copytree(tmp_path / "run", tmp_path / "trained")
    number = 0
    while True:
        number += 1
        for path in [*command.where.values(), tmp_path / "scratch"]:
            shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(tmp_path / "trained", tmp_path / "run")
        (tmp_path / "run" / "summary.json").write_text('{"env_steps": 400}')  # it was finished once, and made longer
        killer = Killer(number, is_late)
        try:
            command(killer)
        except Killed:
            is_finished = command.is_finished() and runs.read_json(tmp_path / "run" / "summary.json")["env_steps"] > 400
            assert not is_finished or command.lacks() == [], number
            command()
        assert command.is_finished() and command.lacks() == [], number
        assert runs.read_json(tmp_path / "run" / "summary.json")["env_steps"] == ENV_STEPS
        if killer.count < number:
            break
    assert number > 2 * len(command.whole) + 8  # model twice, curve, events, four results, summary twice


@pytest.mark.parametrize("is_bucket", [False, True])
def test_finished_run_delivers_what_its_places_lack_and_leaves_the_rest(command, is_bucket):
    command.is_bucket = is_bucket
    command()
    for place in ("model", "tensorboard", "results"):
        before = {path: path.stat().st_mtime_ns for path in files(command.where[place])}
        first, *others = before
        first.unlink()
        for other in others[:1]:
            other.write_bytes(b"cut")
        command()
        assert command.lacks() == []
        assert all(path.stat().st_mtime_ns == before[path] for path in others[1:])
        shutil.rmtree(command.where[place])
        command()
        assert command.lacks() == []


@pytest.mark.parametrize(
    "error, expected", [(tf.errors.PermissionDeniedError, "NotSaved"), (tf.errors.UnavailableError, "Unreachable")]
)
def test_place_that_does_not_take_the_results_leaves_a_run_that_is_not_finished(command, monkeypatch, error, expected):
    def refuse(source, target):
        raise error(None, None, f"{{{{function_node __wrapped__X}}}} {target}; no [Op:Y]")

    with monkeypatch.context() as patch:
        patch.setattr(mirror, "_copy", refuse)
        with pytest.raises(Exception, match="no") as raised:
            command()
    assert type(raised.value).__name__ == expected and "{{" not in str(raised.value)
    assert not command.is_finished()
    command()
    assert command.is_finished() and command.lacks() == []


def test_run_whose_curve_or_report_fails_is_finished_with_a_warning(command, monkeypatch, warnings):
    def fail(*args, **kwargs):
        raise RuntimeError("no font")

    monkeypatch.setattr(reward_curve, "draw", fail)
    service = types.SimpleNamespace()
    monkeypatch.setattr(hyperparameters.Tuner, "__init__", lambda self: setattr(self, "_service", service))
    command()
    assert command.is_finished()
    assert warnings() == [
        "reward_curve.png cannot be drawn: RuntimeError: no font",
        "this trial's results are no longer reported: AttributeError: 'types.SimpleNamespace' object has no attribute "
        "'report_hyperparameter_tuning_metric'",
    ]


KILLED = """
import os, signal, sys
from dqn_tf import cli
from dqn_tf.persistence import mirror
copy = mirror._copy
def copy_or_die(source, target):
    copy(source, target)
    if target.endswith("variables.index"):
        os.kill(os.getpid(), signal.SIGKILL)
mirror._copy = copy_or_die
sys.exit(cli.main(["train.py", *sys.argv[1:]]))
"""


@pytest.mark.thorough
def test_run_that_is_killed_while_its_model_is_copied_delivers_it_by_the_same_command(train, finished, tmp_path):
    logdir, flag = tmp_path / "run", f"--model_dir={tmp_path}/model"
    shutil.copytree(finished, logdir, ignore=shutil.ignore_patterns("summary.json", "model", "reward_curve.png"))
    done = runs.finish(runs.start(*runs.SMALL, f"--logdir={logdir}", flag, program=("-c", KILLED)))
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (logdir / "summary.json").exists()
    train(logdir, flag)
    assert (logdir / "summary.json").exists()
    assert {path.name for path in files(tmp_path / "model")} == {path.name for path in files(logdir / "model")}
    train(logdir, f"--model_dir={tmp_path}/another")  # a place that the second command names
    assert [path.read_bytes() for path in files(tmp_path / "another")] == [
        path.read_bytes() for path in files(tmp_path / "model")
    ]


def stopped_at(run, env_steps):
    """Makes a run one that was killed after its checkpoint of so many env steps."""
    for number in runs.checkpoints(run):
        if number > env_steps:
            shutil.rmtree(manifest.directory(run / "checkpoints", number))
    (run / ".newest").write_text(f"{env_steps}\n")
    with contextlib.suppress(FileNotFoundError):
        (run / "summary.json").unlink()
        shutil.rmtree(run / "model")
    return run


def test_run_that_is_made_shorter_than_its_checkpoint_exports_no_model_that_was_not_evaluated(train, tmp_path):
    run = stopped_at(train(tmp_path / "run", "--eval_period=0"), 800)
    train(run, "--eval_period=0", "--train_env_steps=640")
    assert [row["env_steps"] for row in runs.rows(run, "eval/")] == [800]
    model = keras.models.load_model(run / "model" / "q_network.keras", compile=False)
    learned = runs.network(runs.tensors(run))
    assert [weights.tobytes() for weights in model.get_weights()] == [weights.tobytes() for weights in learned]

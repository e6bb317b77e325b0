"""The directory of a run: one writer, one configuration for life, files whole or not at all."""

import dataclasses
import json
import os
import re
import subprocess
import sys

import pytest

from dqn_tf.config import schema, settings
from dqn_tf.persistence import manifest, run_directory
from tests import runs
from tests.training import made


def config_with(**values):
    return settings.build(values)


@pytest.fixture
def directory(tmp_path):
    return run_directory.RunDirectory(str(tmp_path / "run"))


@pytest.fixture
def trained(directory):
    """Returns the directory of a run of the defaults, with a checkpoint."""
    return leave_run(directory, config_with())


def leave_run(directory, of_config, checkpoint=True):
    if checkpoint:
        return made.leave(directory, of_config)
    directory.path.mkdir(parents=True)
    directory.begin(of_config)
    return directory


def problems(function, *arguments):
    with pytest.raises(schema.ConfigError) as error:
        function(*arguments)
    return list(error.value.problems)


@pytest.mark.parametrize(
    "env_id, name",
    [("CartPole-v1", "CartPole-v1"), ("ALE/Pong-v5", "ALE-Pong-v5"), ("my.module:sub/Env-v0", "sub-Env-v0")],
)
def test_default_logdir_is_of_the_environment_and_the_time(env_id, name):
    made = run_directory.default_logdir(env_id)
    assert re.fullmatch(rf"runs/{name}/\d{{4}}-\d\d-\d\d_\d\d-\d\d-\d\d-[0-9a-f]{{6}}", made)


def test_acquire_makes_the_directory_and_its_parents(tmp_path):
    directory = run_directory.RunDirectory(str(tmp_path / "a" / "b"))
    with directory.acquired():
        assert (tmp_path / "a" / "b").is_dir()


def test_acquire_where_another_process_writes_refuses_until_that_has_ended(directory):
    script = (
        "import sys; from dqn_tf.persistence import run_directory\n"
        "d = run_directory.RunDirectory(sys.argv[1]); d.acquire(); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, directory.path],
        cwd=runs.ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        try:
            assert other.stdout.readline() == "held\n"
            line = f"--logdir={directory.path} is being written by another process; use a new --logdir."
            assert problems(directory.acquire) == [line]
        finally:
            other.kill()  # a lock goes with its process, however that ends
    directory.acquire()
    directory.release()


def test_acquire_within_one_process_refuses_until_released(directory):
    other = run_directory.RunDirectory(str(directory.path))
    with directory.acquired():
        assert problems(other.acquire) == [
            f"--logdir={directory.path} is being written by another process; use a new --logdir."
        ]
    with other.acquired():
        pass


def test_acquire_below_a_launcher_goes_on_with_its_lock_and_releases_only_its_own_share(directory, monkeypatch):
    launcher, other = (run_directory.RunDirectory(str(directory.path)) for _ in range(2))
    with launcher.acquired():
        monkeypatch.setenv("DQN_TF_LOCK", str(os.dup(launcher.lock)))
        with directory.acquired():
            assert not directory.is_gone()
        with pytest.raises(schema.ConfigError, match="another process"):
            other.acquire()


def test_acquire_below_a_launcher_whose_directory_was_removed_takes_a_new_lock(directory, monkeypatch):
    with run_directory.RunDirectory(str(directory.path)).acquired() as launcher:
        monkeypatch.setenv("DQN_TF_LOCK", str(os.dup(launcher.lock)))
        directory.path.rename(directory.path.with_name("moved"))
        with directory.acquired():
            assert not directory.is_gone()


def test_acquire_where_no_directory_can_be_made_says_why():
    assert problems(run_directory.RunDirectory("/proc/none/run").acquire) == [
        "--logdir=/proc/none/run cannot be written: No such file or directory."
    ]


def test_acquired_refused_inside_leaves_nothing(tmp_path):
    with pytest.raises(schema.ConfigError), run_directory.RunDirectory(str(tmp_path / "a" / "b")).acquired():
        raise schema.ConfigError("cannot be shared out")
    assert os.listdir(tmp_path) == []


def test_acquire_where_a_file_is_in_the_way_says_why(tmp_path):
    (tmp_path / "file").write_text("")
    inside, itself = (run_directory.RunDirectory(str(tmp_path / name)) for name in ("file/run", "file"))
    assert problems(inside.acquire) == [f"--logdir={tmp_path}/file/run cannot be written: Not a directory."]
    assert problems(itself.acquire) == [f"--logdir={tmp_path}/file cannot be written: File exists."]


def test_acquire_of_a_name_that_is_too_long_says_why(tmp_path):
    directory = run_directory.RunDirectory(str(tmp_path / ("x" * 300)))
    assert problems(directory.acquire) == [f"--logdir={directory.path} cannot be written: File name too long."]


@pytest.mark.parametrize("resume", ["auto", "never"])
def test_check_of_an_empty_directory_finds_nothing(directory, resume):
    directory.check(config_with(resume=resume))


def test_check_where_a_checkpoint_must_be_and_is_not_refuses(directory):
    line = f"--resume=must but --logdir={directory.path} holds no checkpoint; use the --logdir of a run."
    assert problems(directory.check, config_with(resume="must")) == [line]
    leave_run(directory, config_with(), checkpoint=False)
    assert problems(directory.check, config_with(resume="must")) == [line]


@pytest.mark.parametrize("checkpoint", [True, False])
def test_check_where_a_used_directory_is_not_to_be_resumed_refuses(directory, checkpoint):
    leave_run(directory, config_with(), checkpoint)
    assert problems(directory.check, config_with(resume="never")) == [
        f"--resume=never but --logdir={directory.path} holds a run; use a new --logdir."
    ]


@pytest.mark.parametrize("resume", ["auto", "must"])
def test_check_of_the_same_run_finds_nothing(trained, resume):
    trained.check(config_with(resume=resume))


def test_check_of_a_run_without_checkpoint_lets_another_begin(directory):
    leave_run(directory, config_with(), checkpoint=False).check(config_with(hidden_units=(3,)))


def test_check_of_another_architecture_and_seed_tells_every_difference(trained):
    old = ",".join(map(str, schema.Network().hidden_units)).replace(",", ", ")
    assert problems(trained.check, config_with(hidden_units=(64,), seed=3)) == [
        f"checkpoint {trained.path} was trained with run.seed=0, this run asks for 3; "
        "use a new --logdir or the old value.",
        f"checkpoint {trained.path} was trained with network.hidden_units=[{old}], this run asks for [64]; "
        "use a new --logdir or the old value.",
    ]


def test_check_of_checkpoints_of_another_version_says_so_at_once(trained):
    for number in manifest.numbers(trained.checkpoints):
        path = manifest.location(trained.checkpoints, number)
        tree = json.loads(path.read_text())
        del tree["sha256"]
        path.write_text(manifest._text({**tree, "format": manifest.FORMAT - 1}))
    (line,) = problems(trained.check, config_with())
    said = f"{path} is of another version of dqn_tf"
    assert line.startswith(f"--logdir={trained.path}: no checkpoint can be read: {said}")


# How long, how often and on what a run goes on; all else is part of its meaning. Locations are not stored.
MAY_CHANGE = {"preset", "train_env_steps", "learning_rate_decay_env_steps", "overlap", "vectorization"}
MAY_CHANGE |= {name for name, s in settings.SETTINGS.items() if s.section in ("cluster", "evaluation", "hardware")}
MAY_CHANGE -= {"eval_epsilon", "eval_max_episode_steps", "precision"}  # by these results are compared, and computed
MAY_CHANGE |= {"config", "logdir", "model_dir", "tensorboard_dir"}
OTHER_VALUES = {int: 12345, int | None: 12345, float: 0.12345, str: "other", tuple[int, ...]: (12345,)}
OTHER_VALUES |= {float | None: 0.12345}
OTHER_VALUES |= {schema.JsonObject: schema.JsonObject('{"a": 1}'), tuple[str, ...]: ("module:Other",)}


def other_value(setting):
    return not setting.field.default if setting.field.type is bool else OTHER_VALUES[setting.field.type]


def test_check_of_another_length_period_or_place_finds_nothing(trained):
    for name in MAY_CHANGE:
        trained.check(config_with(**{name: other_value(settings.SETTINGS[name])}))


def test_check_of_another_value_that_is_part_of_the_meaning_refuses(trained):
    for name in settings.SETTINGS.keys() - MAY_CHANGE - {"resume"}:
        setting = settings.SETTINGS[name]
        (line,) = problems(trained.check, config_with(**{name: other_value(setting)}))
        assert line.startswith(f"checkpoint {trained.path} was trained with {setting.section}.{name}=")


def damage_config(directory, contents):
    path = directory.path / "config.json"
    path.unlink()
    if contents is not None:
        path.write_text(contents)


def without(*path):
    """Returns the text of a config.json of the defaults without one branch."""
    tree = settings.to_json(config_with())
    branch = tree
    for name in path[:-1]:
        branch = branch[name]
    del branch[path[-1]]
    return json.dumps(tree)


CONFIGS = {  # and what is said of them; what is not there has its default, as the run has
    without("learning", "n_step"): None,
    without("learning"): None,
    json.dumps(settings.to_json(config_with(n_step=5))): "it is not the run's: learning.n_step=5",
    "{": "it is not JSON",
    "[]": "it is JSON, but not an object",
    None: "No such file or directory",
}


@pytest.mark.parametrize("contents, reason", CONFIGS.items(), ids=map(str, range(len(CONFIGS))))
def test_check_asks_the_checkpoint_what_the_run_is_whatever_is_in_config_json(trained, warnings, contents, reason):
    damage_config(trained, contents)
    trained.check(config_with())
    path = trained.path / "config.json"
    assert warnings() == ([f"{path} is written anew from the checkpoint's: {reason}"] if reason else [])
    assert problems(trained.check, config_with(n_step=5)) == [
        f"checkpoint {trained.path} was trained with learning.n_step=3, this run asks for 5; "
        "use a new --logdir or the old value."
    ]


def test_check_takes_a_setting_that_an_older_checkpoint_lacks_for_its_default(directory):
    old = settings.to_json(config_with())
    del old["learning"]["n_step"], old["hardware"]
    directory.checkpoints.mkdir(parents=True)
    directory.checkpoints.joinpath("ckpt-160").mkdir()
    before = made.of(config=old)
    manifest.commit(directory.checkpoints, before.env_steps, manifest.to_text(before))
    directory.check(config_with())
    (line,) = problems(directory.check, config_with(n_step=5))
    assert "learning.n_step=3, this run asks for 5" in line


def test_finished_env_steps_of_no_run_is_0(directory):
    assert directory.finished_env_steps() == 0


def test_finished_env_steps_of_a_finished_run_is_its_length(trained):
    for env_steps, expected in ((80, 80), (160, 160), (2000, 160)):  # of which there is a checkpoint
        trained.write_json("summary.json", {"env_steps": env_steps})
        assert trained.finished_env_steps() == expected


@pytest.mark.parametrize("tree", [{}, {"env_steps": None}, {"env_steps": "many"}, {"env_steps": True}])
def test_finished_env_steps_of_a_damaged_summary_says_so(trained, tree):
    trained.write_json("summary.json", tree)
    assert problems(trained.finished_env_steps) == [
        f"{trained.path}/summary.json holds no env_steps; use a new --logdir or delete it."
    ]


def test_write_json_replaces_the_file_whole(trained):
    trained.write_json("summary.json", {"a": list(range(1000))})
    trained.write_json("summary.json", {"a": 1})
    assert json.loads((trained.path / "summary.json").read_text()) == {"a": 1}
    assert {path.name for path in trained.path.iterdir()} == {"config.json", "checkpoints", ".newest", "summary.json"}


def test_write_json_of_what_json_cannot_hold_leaves_the_old_file(trained):
    trained.write_json("summary.json", {"a": 1})
    with pytest.raises(TypeError):
        trained.write_json("summary.json", {"a": object()})
    assert json.loads((trained.path / "summary.json").read_text()) == {"a": 1}


def test_config_that_was_written_is_the_config_that_is_read(trained):
    tree = json.loads((trained.path / "config.json").read_text())
    values, found = settings.from_json(tree, "config.json")
    assert (settings.build(values), found) == (dataclasses.replace(config_with()), [])


def test_scratch_of_a_bucket_is_this_users_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = run_directory.scratch("gs://bucket/run/", "0")
    assert path == run_directory.scratch("gs://bucket/run", "0") != run_directory.scratch("gs://bucket/run", "1")
    directory = run_directory.RunDirectory(path, "gs://bucket/run")
    with directory.acquired():
        assert directory.path.stat().st_mode & 0o777 == 0o700


def test_scratch_of_a_bucket_that_somebody_else_has_made_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "theirs").mkdir()
    path = run_directory.scratch("gs://bucket/run", "0")
    os.symlink(tmp_path / "theirs", path)
    with pytest.raises(schema.ConfigError, match="is somebody else's; set TMPDIR to a directory of your own."):
        run_directory.RunDirectory(path, "gs://bucket/run").acquire()


def test_scratch_is_cleared_but_for_its_lock(tmp_path):
    directory = run_directory.RunDirectory(str(tmp_path / "run"))
    with directory.acquired():
        (directory.path / "checkpoints").mkdir()
        (directory.path / "metrics.jsonl").touch()
        directory.clear()
        assert [path.name for path in directory.path.iterdir()] == [".lock"]

"""What a command will do, known before TensorFlow is imported."""

import json
import logging
import os
import shutil
import types

import pytest

from dqn_tf.config import presets, schema, settings
from dqn_tf.persistence import manifest, run_directory
from dqn_tf.training import plan
from tests.training import made

TWO_WORKERS = {"cluster": {"worker": ["127.0.0.1:2222", "127.0.0.1:2223"]}}
NO_GPU = {"CUDA_VISIBLE_DEVICES": "-1"}
VALUES = dict(num_envs=8, round_env_steps=40, replay_ratio=0.5, batch_size=16, replay_capacity=1000, n_step=1)


def tf_config(index, **more):
    return {"TF_CONFIG": json.dumps({**TWO_WORKERS, "task": {"type": "worker", "index": index}, **more}), **NO_GPU}


@pytest.fixture
def make(tmp_path):
    """Returns a function that makes the Plan of these settings, which no preset has; its directory is tmp_path/run."""

    def make(environ=NO_GPU, problems=(), typed=types.MappingProxyType({}), **values):
        values = {**VALUES, "logdir": str(tmp_path / "run"), "preset": "none", **values}
        made = plan.make(settings.build(values), list(problems), environ, 0.0, typed)
        made.directory.release()  # which a process keeps until it ends
        return made

    return make


def refused(make, *arguments, **values):
    with pytest.raises(schema.ConfigError) as error:
        make(*arguments, **values)
    return list(error.value.problems)


def test_plan_of_the_default_strategy_trains_here_alone(make, tmp_path):
    made = make()
    assert (made.cluster, made.needs_launcher, made.num_workers, made.is_chief) == (None, False, 1, True)
    assert made.spec.env_id == "CartPole-v1"
    assert (made.architecture.name, made.variables({})) == ("mlp", {})
    assert made.directory.path == tmp_path / "run"
    assert not made.is_finished


def test_plan_of_images_takes_the_convolutional_network_with_onednn(make):
    made = make(env="tests.environments:Pixel-v0")
    assert (made.architecture.name, made.variables({})) == ("nature_cnn", {"TF_ENABLE_ONEDNN_OPTS": "1"})


def test_plan_keeps_what_the_user_has_set(make):
    made = make(env="tests.environments:Pixel-v0")
    assert made.variables({"TF_ENABLE_ONEDNN_OPTS": "0"}) == {}


def test_plan_of_a_cluster_excepts_its_hosts_from_proxies(make):
    environ = {**tf_config(0), "http_proxy": "http://127.0.0.1:9", "no_proxy": "mine"}
    made = make(environ, strategy="multiworker")
    assert made.variables(environ) == {"no_proxy": ",".join(["mine", *dict.fromkeys(made.cluster.hosts)])}


def test_plan_without_a_logdir_names_one_of_the_environment(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert make(logdir="").directory.path.parts[:2] == ("runs", "CartPole-v1")


def test_plan_of_multiworker_without_a_cluster_starts_one(make):
    made = make(strategy="multiworker", num_workers=4)
    assert (made.cluster, made.needs_launcher, made.num_workers, made.is_chief) == (None, True, 4, True)


@pytest.mark.parametrize("index", [0, 1])
def test_plan_of_multiworker_with_tf_config_is_one_of_its_workers(make, index):
    made = make(tf_config(index), strategy="multiworker", num_workers=7)
    assert (made.cluster.index, made.needs_launcher, made.num_workers) == (index, False, 2)
    assert made.is_chief == (index == 0)


def test_plan_of_multiworker_with_a_file_takes_the_task_of_the_flags(make, tmp_path):
    (tmp_path / "cluster.json").write_text(json.dumps(TWO_WORKERS))
    made = make(strategy="multiworker", tf_config=str(tmp_path / "cluster.json"), task_index=1)
    assert (made.cluster.index, made.num_workers, made.is_chief) == (1, 2, False)


def test_plan_of_the_chief_holds_the_lock_and_of_a_worker_does_not(make, tmp_path):
    for index, refuses in ((1, False), (0, True)):
        with make(tf_config(index), strategy="multiworker").locked():
            other = run_directory.RunDirectory(str(tmp_path / "run"))
            if refuses:
                with pytest.raises(schema.ConfigError):
                    other.acquire()
            else:
                other.acquire()
                other.release()


def test_plan_where_the_run_is_finished_says_so(make, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("dqn_tf"), "propagate", True)  # console.set_up turns it off
    directory = run_directory.RunDirectory(str(tmp_path / "run"))
    made.leave(directory, make(train_env_steps=2000).config, env_steps=2000)
    made.leave_results(directory, env_steps=2000)
    with caplog.at_level(logging.INFO, "dqn_tf"):
        assert make(train_env_steps=2000).says_finished()
    assert caplog.messages == [f"finished: {directory.path} holds all 2000 env steps"]
    assert not make(train_env_steps=2001).is_finished


@pytest.mark.parametrize("damage", ["cut", "missing", "fifo", "not described", "described by another"])
def test_plan_where_the_model_of_a_finished_run_is_damaged_says_so_and_resumes(
    make, tmp_path, monkeypatch, caplog, damage
):
    monkeypatch.setattr(logging.getLogger("dqn_tf"), "propagate", True)
    directory = run_directory.RunDirectory(str(tmp_path / "run"))
    made.leave(directory, make(train_env_steps=2000).config, env_steps=2000)
    model = made.leave_results(directory, env_steps=2000)
    if "described" in damage:
        files = [{"path": "../secret", "size": 0, "sha256": ""}] if "another" in damage else None
        directory.write_json("summary.json", {"env_steps": 2000, "files": files})
    else:
        model.unlink()
        {"cut": model.touch, "missing": list, "fifo": lambda: os.mkfifo(model)}[damage]()
    assert not make(train_env_steps=2000).is_finished and not make(train_env_steps=2000).says_finished()
    (line,) = caplog.messages
    assert line.startswith(f"{directory.path}: ")
    assert line.endswith("its results are made again from the last checkpoint")


@pytest.mark.parametrize("lost", [["checkpoints", ".newest"], ["checkpoints", ".newest", "summary.json"]])
def test_plan_where_a_finished_run_has_lost_its_checkpoints_is_refused_and_removes_nothing(make, tmp_path, lost):
    directory = run_directory.RunDirectory(str(tmp_path / "run"))
    made.leave(directory, make(train_env_steps=2000).config, env_steps=2000)
    model = made.leave_results(directory, env_steps=2000)
    shutil.rmtree(directory.path / lost[0])
    for name in lost[1:]:
        (directory.path / name).unlink()
    left = "model" if "summary.json" in lost else "summary.json"
    with pytest.raises(schema.ConfigError) as error:
        make(train_env_steps=2000)
    assert error.value.problems == (
        f"--logdir={directory.path} holds {left} of a finished run, but none of its checkpoints; "
        "bring them back, or use a new --logdir.",
    )
    assert model.exists()


def test_plan_where_tf_config_is_set_but_not_asked_for_warns(make, monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("dqn_tf"), "propagate", True)
    assert make(tf_config(0)).cluster is None
    assert caplog.messages == ["TF_CONFIG is set but not read, because --strategy=default"]


def test_plan_where_a_platform_names_more_workers_but_not_asked_for_warns(make, monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("dqn_tf"), "propagate", True)
    two = {**NO_GPU, "SM_HOSTS": '["algo-1","algo-2"]', "SM_CURRENT_HOST": "algo-2"}
    assert make(two).cluster is None
    assert make({**two, "SM_HOSTS": '["algo-2"]'}).cluster is None  # one host is no reason to wonder
    assert caplog.messages == [
        "SM_HOSTS of SageMaker names 2 workers; each trains on its own, because --strategy=default"
    ]


@pytest.mark.parametrize(
    "values, environ, line",
    [
        (
            dict(strategy="multiworker", num_workers=3, num_envs=9, round_env_steps=36, replay_capacity=999),
            NO_GPU,
            "--batch_size=16 must be divisible by the 3 replicas in sync (3 workers x 1 replicas); try 15 or 18.",
        ),
        (
            dict(strategy="mirrored", batch_size=15),
            NO_GPU,
            "--batch_size=15 must be divisible by the 2 replicas in sync (1 workers x 2 replicas); try 14 or 16.",
        ),
        (
            dict(strategy="mirrored", num_replicas=3),
            NO_GPU,
            "--batch_size=16 must be divisible by the 3 replicas in sync (1 workers x 3 replicas); try 15 or 18.",
        ),
        (
            dict(strategy="mirrored"),
            {"CUDA_VISIBLE_DEVICES": "0,1,2"},
            "--batch_size=16 must be divisible by the 3 replicas in sync (1 workers x 3 replicas); try 15 or 18.",
        ),
        (
            dict(strategy="multiworker", batch_size=18),
            {"CUDA_VISIBLE_DEVICES": "0,1,2,3"},
            "--batch_size=18 must be divisible by the 4 replicas in sync (2 workers x 2 replicas); try 16 or 20.",
        ),
        (
            dict(strategy="multiworker", num_envs=5),
            tf_config(0),
            "--num_envs=5 must be divisible by the 2 workers; try 4 or 6.",
        ),
        (
            dict(strategy="multiworker", replay_capacity=1001),
            tf_config(0),
            "--replay_capacity=1001 must be divisible by the 2 workers; try 1000 or 1002.",
        ),
    ],
)
def test_plan_where_a_number_does_not_divide_refuses(make, values, environ, line):
    assert refused(make, environ, **values) == [line]


def test_plan_with_mistakes_everywhere_tells_all_at_once(make, tmp_path):
    environ = {"TF_CONFIG": "{", **NO_GPU}
    problems = refused(make, environ, ["--seed=x is wrong."], env="CartPol-v1", strategy="multiworker")
    assert problems[:2] == [
        "--seed=x is wrong.",
        "--env=CartPol-v1 is not a registered environment; did you mean CartPole-v1 or CartPole-v0?",
    ]
    assert [line.split(" cannot")[0] for line in problems[2:]] == ["TF_CONFIG"]
    assert not (tmp_path / "run").exists()


def test_plan_of_images_by_name_where_there_are_none_refuses(make):
    assert refused(make, network="nature_cnn") == [
        "--network=nature_cnn needs images of at least 36 x 36, this environment's observations have shape (4,); "
        "use --network=mlp."
    ]


@pytest.mark.parametrize("strategy", ["default", "mirrored", "multiworker"])
def test_plan_of_a_task_without_a_cluster_refuses(make, strategy):
    assert refused(make, strategy=strategy, task_index=0) == [
        "--task_index=0 names a task but there is no cluster; give --tf_config=FILE or set TF_CONFIG."
    ]


@pytest.mark.parametrize("strategy", ["default", "mirrored"])
def test_plan_of_a_cluster_under_another_strategy_refuses(make, tmp_path, strategy):
    (tmp_path / "cluster.json").write_text(json.dumps(TWO_WORKERS))
    assert refused(make, strategy=strategy, tf_config=str(tmp_path / "cluster.json"), task_index=0) == [
        f"--strategy={strategy} trains in one process, but a cluster is given; "
        "add --strategy=multiworker or leave out --tf_config, --task_type and --task_index."
    ]


def test_plan_where_the_directory_may_not_be_used_refuses(make, tmp_path):
    assert refused(make, resume="must") == [
        f"--resume=must but --logdir={tmp_path}/run holds no checkpoint; use the --logdir of a run."
    ]


def is_a_file(path):
    path.touch()


def is_a_loop(path):
    path.symlink_to(path.name)


@pytest.mark.parametrize(
    "task, where, obstacle",
    [("chief", "run", is_a_file), ("worker", "run/checkpoints", is_a_loop), ("evaluator", "run", is_a_loop)],
)
def test_plan_where_the_directory_cannot_be_entered_says_one_line(make, tmp_path, task, where, obstacle):
    path = tmp_path / where
    path.parent.mkdir(exist_ok=True)
    obstacle(path)
    values = {"chief": {}, "worker": {"strategy": "multiworker"}, "evaluator": {"task_type": "evaluator"}}[task]
    environ = tf_config(1) if task == "worker" else NO_GPU
    [line] = refused(make, environ, **values)
    assert str(path) in line


def test_plan_of_an_evaluator_whose_directory_is_mistaken_says_one_line(make):
    assert refused(make, logdir="", task_type="evaluator", problems=["--logdir=x must be y."]) == [
        "--logdir=x must be y."
    ]


def test_plan_leaves_the_directory_unlocked(make, tmp_path):
    make()
    with run_directory.RunDirectory(str(tmp_path / "run")).acquired():
        pass


def test_plan_with_mistakes_of_every_kind_tells_division_and_directory_too(make, tmp_path):
    (tmp_path / "file").write_text("")
    problems = refused(
        make,
        problems=["--optimizer=adamm is wrong."],
        batch_size=33,
        strategy="mirrored",
        logdir=str(tmp_path / "file" / "run"),
    )
    assert problems == [
        "--optimizer=adamm is wrong.",
        "--batch_size=33 must be divisible by the 2 replicas in sync (1 workers x 2 replicas); try 32 or 34.",
        f"--logdir={tmp_path / 'file' / 'run'} cannot be written: Not a directory.",
    ]


def dropped(caplog):
    return [record.getMessage() for record in caplog.records if "is dropped" in record.getMessage()]


def test_plan_in_a_shell_of_srun_says_that_it_drops_the_number_of_workers(make, caplog):
    shell = {"SLURM_PROCID": "0", "SLURM_STEP_NODELIST": "n9", "SLURM_STEP_NUM_TASKS": "1", **NO_GPU}
    assert make(shell, strategy="multiworker", num_workers=2).num_workers == 1
    assert dropped(caplog) == [
        "cluster: workers: 1, because of srun of Slurm; --num_workers=2 is dropped, which is for a cluster on this "
        "machine where nothing names one (tf_config/README.md)"
    ]


@pytest.mark.parametrize(
    "values, lines",
    [
        (dict(num_workers=4), ["--num_workers=4 is dropped, because --strategy=default"]),
        (dict(num_replicas=4), ["--num_replicas=4 is dropped, because --strategy=default"]),
        (dict(num_replicas=4, strategy="multiworker"), ["--num_replicas=4 is dropped, because --strategy=multiworker"]),
        (dict(num_replicas=4, strategy="mirrored"), []),
        (dict(num_workers=4, strategy="multiworker"), []),
        (dict(), []),
    ],
)
def test_plan_says_which_numbers_a_strategy_drops(make, caplog, values, lines):
    make(**values)
    assert dropped(caplog) == lines


@pytest.mark.parametrize("index, num_workers, count", [(0, 2, 0), (0, 7, 1), (1, 7, 0)])
def test_plan_of_a_cluster_says_once_that_another_number_is_dropped(make, caplog, index, num_workers, count):
    make(tf_config(index), strategy="multiworker", num_workers=num_workers)
    assert len(dropped(caplog)) == count


def test_plan_on_a_gpu_says_what_its_preset_takes_there_unless_it_was_given(make, caplog):
    pytest.importorskip("ale_py")
    values = {"env": "ALE/Pong-v5", "preset": "auto", **presets.PRESETS["atari"]}
    values |= {"num_envs": 32, "replay_capacity": 1000}
    caplog.set_level(logging.INFO)
    make({"CUDA_VISIBLE_DEVICES": "0"}, **values)
    assert "preset: --num_envs=32, as on a machine with a GPU; else it is 8" in caplog.messages
    caplog.clear()
    make(**{**values, "num_envs": 8})
    assert "preset: --num_envs=8, as on a machine with no GPU; else it is 32" in caplog.messages
    caplog.clear()
    plan.make(settings.build(values), [], {"CUDA_VISIBLE_DEVICES": "0"}, 0.0, {"num_envs": 32}).directory.release()
    assert not [line for line in caplog.messages if line.startswith("preset:")]


def test_plan_that_resumes_keeps_what_the_preset_took_by_the_machine_that_began(make, monkeypatch):
    pytest.importorskip("ale_py")
    values = {"env": "ALE/Pong-v5", "preset": "auto", **presets.PRESETS["atari"], "replay_capacity": 1000, "n_step": 1}
    values |= {"atari_protocol": "machado", "atari_actions": "minimal"}
    begun = types.SimpleNamespace(environment={}, config=settings.to_json(settings.build({**values, "num_envs": 32})))
    monkeypatch.setattr(manifest, "newest_readable", lambda checkpoints: begun)
    assert make(**values).config.training.num_envs == 32

    typed = {"num_envs": 8}
    with pytest.raises(schema.ConfigError, match="training.num_envs=32, this run asks for 8"):
        make(typed=typed, **values)


def test_plan_leaves_observations_that_are_images_as_they_are_and_says_so_if_it_was_asked(make, caplog):
    values = {"env": "tests.environments:Pixel-v0", "preset": "auto", "normalize_observations": True}
    caplog.set_level(logging.INFO)
    assert not make(**values).config.network.normalize_observations
    line = "preset: general leaves out what does not fit here: --normalize_observations=true"
    assert any(message.startswith(line) for message in caplog.messages)
    line = "--normalize_observations is not for images, which have one scale; leave it out."
    assert refused(make, typed={"normalize_observations": True}, **values) == [line]

"""The command that writes job files: what it writes and says, and every mistake as one line."""

import dataclasses
import json
import pathlib
import subprocess
import sys

import pytest
import yaml

from dqn_tf.config import flags, settings
from dqn_tf.config.schema import ConfigError, JsonObject
from dqn_tf.jobs import assembly, command, options, targets

ROOT = pathlib.Path(__file__).parents[2]
ROLE = "arn:aws:iam::123456789012:role/dqn"
GIVEN = {
    "vertex": "--machine=n1-standard-8 --region=us-central1 --image=me/dqn:1 --storage=gs://my-bucket/runs",
    "sagemaker": "--machine=ml.g5.12xlarge --region=us-east-1 --image=me/dqn:1 --storage=s3://my-bucket/runs "
    f"--identity={ROLE}",
    "azureml": "--machine=Standard_D8s_v3 --region=eastus --image=me/dqn:1 "
    "--storage=azureml://datastores/workspaceblobstore/paths/runs",
    "kubernetes": "--image=me/dqn:1 --storage=dqn-runs",
    "tfjob": "--image=me/dqn:1 --storage=dqn-runs",
    "slurm": "--storage=/shared/runs",
}
ALL_PLATFORMS = pytest.mark.parametrize("platform", GIVEN)


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "no programs"))  # nothing can be submitted, whatever a test does


def words(platform, *more):
    return [platform, *GIVEN[platform].split(), *more]


def make(platform, *more):
    """Returns the Job of a platform's usual options and `more`."""
    return assembly.make(platform, words(platform, *more)[1:])[0]


def mistakes(platform, *more):
    """Returns the lines that are said of a platform's usual options and `more`."""
    with pytest.raises(ConfigError) as error:
        make(platform, *more)
    return list(error.value.problems)


@ALL_PLATFORMS
def test_command_writes_the_files_and_says_how_to_go_on(platform, capsys):
    assert command.main(words(platform)) == 0
    written = sorted(pathlib.Path("jobs", platform, "dqn-cartpole-v1").iterdir())
    lines = capsys.readouterr().out.splitlines()
    assert written and sorted(lines[: len(written)]) == [f"wrote {path}" for path in written]
    said = dict(zip(("submit:", "watch:"), (lines.index("submit:"), lines.index("watch:")), strict=True))
    submit = lines[said["submit:"] + 1].split()
    assert submit[0] == targets.TARGETS[platform].program
    assert any(word.endswith(str(path)) for word in submit for path in written)
    assert len(lines) > said["watch:"] + 1


@pytest.mark.parametrize("platform", ["kubernetes", "tfjob"])
def test_command_names_the_path_of_a_file_to_watch_with(platform, capsys):
    command.main(words(platform, "--output=here/and there"))
    said = capsys.readouterr().out
    name = "job" if platform == "kubernetes" else platform
    assert f"  kubectl apply '--filename=here/and there/{name}.yaml'\n" in said
    assert "kubectl apply --filename='here/and there/tensorboard.yaml' && " in said


@ALL_PLATFORMS
def test_files_of_a_job_are_found_twice_and_not_those_of_another(platform, capsys):
    assert command.main(words(platform)) == 0
    before = {path: path.read_bytes() for path in pathlib.Path("jobs").rglob("*.*")}
    assert command.main(words(platform)) == 0
    assert command.main(words(platform, "--seed=7")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is another job's or was changed; give another --name or --output, or delete it." in line
    assert {path: path.read_bytes() for path in pathlib.Path("jobs").rglob("*.*")} == before
    assert command.main(words(platform, "--seed=7", "--name=seed-7")) == 0


def test_output_that_cannot_be_written_is_refused(capsys):
    pathlib.Path("taken").write_text("")
    assert command.main(words("slurm", "--output=taken/here")) == 2
    assert capsys.readouterr().err == "--output=taken/here cannot be written: Not a directory.\n"


@pytest.mark.parametrize(
    "argv, said",
    [
        ([], "the platform comes first: vertex, sagemaker, azureml, kubernetes, tfjob, slurm or estimate; see --help"),
        (["--workers=2"], "the platform comes first: "),
        (["vertx"], "platform vertx must be one of vertex, sagemaker, azureml, kubernetes, tfjob, slurm, estimate; d"),
        (["ec2"], "platform ec2 must be one of vertex, sagemaker, azureml, kubernetes, tfjob, slurm, estimate.\n"),
    ],
)
def test_platform_that_is_none_is_one_line_and_exit_code_2(argv, said, capsys):
    assert command.main(argv) == 2
    error = capsys.readouterr().err
    assert error.startswith(said) and error.count("\n") == 1


@pytest.mark.parametrize(
    "platform, more, said",
    [
        ("vertex", "--machine=", "--machine is missing for Vertex AI: machine type of each worker."),
        ("vertex", "--region=", "--region is missing for Vertex AI: region, as the platform names it."),
        ("vertex", "--storage=", "--storage is missing for Vertex AI: where checkpoints and results are kept, a Goog"),
        ("vertex", "--storage=s3://my-bucket/runs", "--storage=s3://my-bucket/runs must be a Google Cloud Storage pa"),
        ("vertex", "--storage=gs://bucket/a//b", "--storage=gs://bucket/a//b must be a Google Cloud Storage path for"),
        ("vertex", "--grace_seconds=30", "--grace_seconds is not an option of Vertex AI; it decides the time between"),
        ("vertex", "--max_restarts=2", "--max_restarts=2 must be 0 for Vertex AI, which chooses how often; leave it o"),
        ("vertex", "--machne=x", "--machne=x is an unknown flag; did you mean --machine?"),
        ("sagemaker", "--storage=gs://my-bucket/runs", "--storage=gs://my-bucket/runs must be an S3 path for SageMak"),
        ("sagemaker", "--identity=", "--identity is missing for SageMaker: role that the job runs as, such as arn:a"),
        ("sagemaker", "--identity", "--identity needs a value, --identity=...: service account or role the job runs"),
        ("sagemaker", "--max_restarts=31", "--max_restarts=31 must be a whole number from 0 to 30 for SageMaker."),
        ("sagemaker", "--evaluator", "--evaluator is not an option of SageMaker; evaluate the run's directory from"),
        ("azureml", "--storage=azureml://datastores/d/paths/a//b", "paths/a//b must be a datastore path for Azure ML"),
        ("azureml", "--max_restarts=1", "--max_restarts is not an option of Azure ML; it starts no job again: az ml"),
        ("azureml", "--cores=4", "--cores is not an option of Azure ML; a worker has all cores of its --machine."),
        ("kubernetes", "--storage=/runs", "--storage=/runs must be the name of a ReadWriteMany PersistentVolumeClaim"),
        ("kubernetes", "--region=us-east1", "--region is not an option of Kubernetes."),
        ("kubernetes", "--workers=2 --gpus=3", "--batch_size=64 must be divisible by the 6 replicas in sync (2 worke"),
        ("tfjob", "--tensorboard=board", "--tensorboard is not an option of Kubeflow TFJob; TensorBoard reads --stor"),
        ("slurm", "--storage=runs", "--storage=runs must be an absolute path of a directory that all nodes see for S"),
        ("slurm", "--machine=m", "--machine is not an option of Slurm; choose machines with --partition, --cores and"),
        ("slurm", "--spot", "--spot is not an option of Slurm; name a partition whose jobs may be preempted, --parti"),
        ("slurm", "--workers=0", "--workers=0 must be a whole number from 1 to 512."),
        ("slurm", "--max_hours=nan", "--max_hours=nan must be a number from 0.02 to 8784."),
        ("slurm", "--evaluator=perhaps", "--evaluator=perhaps must be true or false."),
        ("slurm", "--name=My_Job", "--name=My_Job must be at most 50 lower-case letters, digits and dashes, from a l"),
        ("slurm", "--max-hour=2", "--max-hour=2 is an unknown flag; did you mean --max_hours?"),
        ("slurm", "--batch-sise=32", "--batch-sise=32 is an unknown flag; did you mean --batch_size?"),
        ("slurm", "--env=CartPol-v1", "--env=CartPol-v1 is not a registered environment; did you mean CartPole-v1 or"),
        ("slurm", "--num_workers 4", "--num_workers says how a run is spread, which the job decides: give --work"),
        ("slurm", "--logdir=runs/a", "--logdir=runs/a says where a run is kept, which the job decides: give --st"),
        ("slurm", "--model_dir=m", "--model_dir=m says where a run is kept, which the job decides: leave it out."),
        ("slurm", "--task-index=1", "--task-index=1 says which task a process is, which the job decides: leave it"),
        ("slurm", "--resume=never", "--resume=never says whether a run resumes, which the job decides: leave it"),
        ("slurm", "--config=none.json", "--config=none.json cannot be read: No such file or directory."),
    ],
)
def test_mistake_is_one_line(platform, more, said):
    (line,) = mistakes(platform, *more.split())
    assert said in line


def test_mistakes_of_options_and_flags_are_all_told(capsys):
    argv = words("vertex", "--workers=0", "--storage=s3://b", "--gpus=99", "--batch_size=-1", "--bogus", "stray")
    assert command.main(argv) == 2
    said = capsys.readouterr().err.splitlines()
    starts = ["--workers=0 must", "--storage=s3://b must", "--bogus is an unknown", "stray is not a flag"]
    starts += ["--batch_size=-1 must", "--gpus=99 must"]
    assert [line for line in said if not line.startswith(tuple(starts))] == []
    assert len(said) == len(starts)
    assert not pathlib.Path("jobs").exists()


@pytest.mark.parametrize("spelled", ["--max_hours=2", "--max-hours=2", "--max_hours 2", "--max-hours 2.0"])
def test_option_is_taken_in_every_spelling_of_a_flag(spelled):
    assert make("slurm", *spelled.split(), "--num-envs", "8", "--overlap", "False").max_seconds == 7200


@pytest.mark.parametrize(
    "spelled, spot", [("--spot", True), ("--spot=False", False), ("--spot true", True), ("", False)]
)
def test_option_that_is_a_switch_is_taken_in_every_spelling(spelled, spot):
    assert make("vertex", *spelled.split(), "--seed=1").spot is spot


@pytest.mark.parametrize(
    "workers, gpus, strategy",
    [(1, 0, "default"), (1, 1, "default"), (1, 4, "mirrored"), (2, 0, "multiworker"), (2, 4, "multiworker")],
)
def test_strategy_follows_from_workers_and_gpus(workers, gpus, strategy):
    job = make("kubernetes", f"--workers={workers}", f"--gpus={gpus}")
    assert (job.strategy, job.arguments[0]) == (strategy, f"--strategy={strategy}")


def test_flag_that_is_near_an_option_of_another_platform_is_not_taken_for_it():
    assert mistakes("slurm", "--machne=x") == ["--machne=x is an unknown flag; see --help."]


@pytest.mark.parametrize("env", ["my_module:NoSuchEnv-v0", "LunarLander-v3"])
def test_environment_that_may_be_in_the_image_is_taken(env):
    assert make("slurm", f"--env={env}").flags[0] == f"--env={env}"


@pytest.mark.parametrize(
    "platform, more, expected",
    [
        ("kubernetes", "", (2, 2)),  # 1.05 GB and 100,000 x 44 bytes
        ("kubernetes", "--gpus=1", (2, 4)),  # 2 for NVIDIA's libraries
        ("slurm", "--env=ALE/Pong-v5 --replay_capacity=1000000 --cores=8", (8, 9)),  # 1.05 + 1,000,000 x 7.2 kB = 8.25
        ("tfjob", "--env=ALE/Pong-v5 --replay_capacity=1000000 --workers=4", (2, 3)),  # 1.05 + 7.2 / 4 = 2.85
    ],
)
def test_worker_asks_for_cores_and_for_the_memory_that_it_needs(platform, more, expected):
    job = make(platform, *more.split())
    assert (job.cores, job.memory_gib) == expected


@pytest.mark.parametrize("platform", ["vertex", "sagemaker"])
def test_restarts_that_a_platform_can_do_are_taken(platform):
    assert make(platform, "--max_restarts=0").max_restarts == 0


@pytest.mark.parametrize(
    "env, name",
    [
        ("CartPole-v1", "dqn-cartpole-v1"),
        ("ALE/Pong-v5", "dqn-ale-pong-v5"),
        ("my_module:My__Env-v0", "dqn-my-module-my-env-v0"),
        ("A" * 45 + "--" + "B" * 9, "dqn-" + "a" * 45),
    ],
)
def test_default_name_is_a_dns_label(env, name):
    assert assembly.default_name(env) == name
    options.OPTIONS["name"].parse(name)


def replayed(job):
    """Returns the Config of the flags in a job, as a container that gives them as pairs makes it."""
    pairs = [word for flag in job.flags for word in flag.split("=", 1)]
    for argv in (job.arguments, pairs):
        config, problems = flags.parse(["train.py", *argv])
        assert problems == []
    return dataclasses.replace(config, cluster=flags.parse(["train.py"])[0].cluster)


RUNS = [
    "",
    "--env=ALE/Pong-v5 --workers=2",
    "--preset=classic --seed=3",
    "--hidden_units=32,16 --learning_rate=3e-4 --nooverlap --double_q=false --jit_compile=true",
    "--hidden_units= --network=mlp",
]


@pytest.mark.parametrize("run", RUNS)
def test_flags_of_a_job_read_again_are_the_same_run(run):
    given, problems = flags.parse(["train.py", *[word for word in run.split() if "--workers" not in word]])
    assert problems == []
    assert replayed(make("slurm", *run.split())) == given


@pytest.mark.parametrize(("given", "num_envs"), [(["--gpus=1"], 32), ([], 8), (["--gpus=1", "--num_envs=8"], 8)])
def test_job_says_what_a_preset_would_take_by_the_machine(given, num_envs):
    flags_of = make("slurm", "--env=ALE/Pong-v5", *given).flags
    assert f"--num_envs={num_envs}" in flags_of


@pytest.mark.parametrize("run", RUNS)
def test_config_file_becomes_the_flags_that_make_the_same_run(run):
    given, _ = flags.parse(["train.py", *[word for word in run.split() if "--workers" not in word]])
    changed = dataclasses.replace(given, cluster=dataclasses.replace(given.cluster, strategy="mirrored", num_workers=7))
    pathlib.Path("config.json").write_text(json.dumps(settings.to_json(changed)))
    job = make("slurm", "--config=config.json", *[word for word in run.split() if "--workers" in word])
    assert replayed(job) == given
    names = [flag.partition("=")[0] for flag in job.flags]
    assert not {"--config", "--strategy", "--num_workers"} & set(names)
    assert names[:2] == ["--env", "--preset"] and len(set(names)) == len(names)


def test_flags_of_a_job_are_written_in_one_way():
    job = make("slurm", "--nooverlap", "--hidden_units=(32, 16)", "--learning_rate=0.00050", "--batch-size", "32")
    assert job.flags == (
        "--env=CartPole-v1",
        "--preset=auto",
        "--batch_size=32",
        "--overlap=False",
        "--hidden_units=32,16",
        "--learning_rate=0.0005",
    )


def test_options_of_a_job_and_flags_of_a_run_share_one_name():
    assert set(options.OPTIONS) & set(settings.SETTINGS) == {"max_restarts"}  # of the job, where there is one


def test_every_stored_setting_that_differs_is_a_flag():
    decided = ("env", "preset", "strategy", "num_workers", "num_replicas", "max_restarts")
    other = {}
    for setting in settings.SETTINGS.values():
        if setting.is_stored and setting.name not in decided:
            value, limits = setting.field.default, setting.field.metadata
            choices = [choice for choice in limits["choices"] if choice != value]
            if isinstance(value, bool):
                other[setting.name] = not value
            elif value is None:
                other[setting.name] = 7.5
            elif isinstance(value, tuple):
                other[setting.name] = (*value, 7)
            elif isinstance(value, JsonObject):
                other[setting.name] = JsonObject('{"map_name": "8x8"}')
            else:
                other[setting.name] = choices[0] if choices else value + 1 if value == 0 else value / 2
                if isinstance(value, int) and not choices:
                    other[setting.name] = value + 1
    flags_of = assembly.canonical(settings.build(other))
    assert {flag.partition("=")[0] for flag in flags_of} == {"--env", "--preset", *(f"--{name}" for name in other)}
    assert len(flags_of) > 40


def test_config_file_that_names_a_module_is_trusted_only_where_it_is_typed():
    pathlib.Path("config.json").write_text(json.dumps({"run": {"env": "evil:Env-v0"}}))
    (line,) = mistakes("slurm", "--config=config.json")
    assert "names a module that would be imported; add --env=evil:Env-v0 to trust it." in line
    assert make("slurm", "--config=config.json", "--env=evil:Env-v0").flags[0] == "--env=evil:Env-v0"


@ALL_PLATFORMS
def test_command_in_a_job_makes_the_same_job(platform):
    job = make(platform, "--seed=3", "--submit", "--max_hours=3", "--output=elsewhere", "--name=it")
    program, argv = job.command.split()[:3], job.command.split()[3:]
    assert program == ["python", "-m", "dqn_tf.jobs"] and argv[0] == platform
    assert assembly.make(platform, argv[1:])[0] == job
    assert "--submit" not in job.command and "--output" not in job.command


def test_command_in_a_job_is_on_one_line():
    job = make("kubernetes", "--env=a\nb: c")
    assert "\n" not in job.command
    command.main(words("kubernetes", "--env=a\nb: c", "--output=out"))
    trees = list(yaml.safe_load_all(pathlib.Path("out", "job.yaml").read_text()))
    assert [tree["kind"] for tree in trees] == ["Service", "NetworkPolicy", "Job"]


@ALL_PLATFORMS
def test_submit_without_the_platforms_program_is_refused_and_nothing_written(platform, capsys):
    assert command.main(words(platform, "--submit")) == 2
    target = targets.TARGETS[platform]
    said = f"--submit needs {target.program}, which is not installed: {target.install}"
    assert capsys.readouterr().err.startswith(said)
    assert not pathlib.Path("jobs").exists()


@pytest.mark.parametrize("code, exit_code", [(0, 0), (1, 1), (252, 1)])
def test_submit_runs_the_platforms_program(code, exit_code, tmp_path, capsys, monkeypatch):
    program = tmp_path / "kubectl"
    program.write_text(f'#!/bin/sh\necho "$@" >said\nexit {code}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert command.main(words("kubernetes", "--submit")) == exit_code
    path = "jobs/kubernetes/dqn-cartpole-v1/job.yaml"
    assert pathlib.Path("said").read_text() == f"apply --filename={path}\n" and pathlib.Path(path).exists()
    said = capsys.readouterr().err
    assert said == (f"not submitted: kubectl ended with exit code {code}.\n" if code else "")


def test_submit_that_is_interrupted_ends_with_code_130(tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(command.shutil, "which", lambda program: program)
    monkeypatch.setattr(subprocess, "run", interrupt)
    assert command.main(words("kubernetes", "--submit")) == 130


def test_without_submit_nothing_is_run(monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("ran a program"))
    assert command.main(words("kubernetes")) == 0


@pytest.mark.parametrize("argv", [["--help"], ["vertex", "--help"], ["slurm", "-h"]])
def test_help_explains_every_option_with_an_example_for_each_platform(argv, capsys):
    assert command.main(argv) == 0
    text = capsys.readouterr().out
    assert [name for name in options.OPTIONS if f"  --{name}\n" not in text] == []
    assert [name for name in targets.TARGETS if f"python -m dqn_tf.jobs {name} --" not in text] == []


@ALL_PLATFORMS
def test_example_of_the_help_is_a_job(platform):
    job, _ = assembly.make(platform, targets.TARGETS[platform].example.split())
    assert targets.TARGETS[platform].takes(job.storage)


@pytest.mark.parametrize("platform", ["kubernetes", "vertex"])
def test_mistake_is_answered_without_tensorflow(platform):
    script = (
        "import sys; from dqn_tf.jobs import command; code = command.main(sys.argv[1:]); "
        "print(code, sorted({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    argv = [sys.executable, "-c", script, *words(platform)]
    environ = {"PYTHONPATH": str(ROOT), "PATH": ""}
    right = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=120)
    assert right.stdout.splitlines()[-1:] == ["0 []"], right.stderr
    argv = [sys.executable, "-m", "dqn_tf.jobs", *words(platform, "--gpus=99")]
    wrong = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=120)
    assert (wrong.returncode, wrong.stdout, len(wrong.stderr.splitlines())) == (2, "", 1)

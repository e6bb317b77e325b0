"""SageMaker's own toolkit starts train.py: hyperparameters, two hosts, the model, exit codes, SIGTERM."""

import contextlib
import importlib.util
import pathlib
import signal
import subprocess
import sys

import pytest

from tests import hosts, runs, sagemaker

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(
        importlib.util.find_spec("sagemaker_training") is None or sys.platform != "linux",
        reason="sagemaker-training is not installed; pip install -e '.[sagemaker]' brings it, on Linux",
    ),
]
needs_hosts = pytest.mark.skipif(bool(hosts.why_not()), reason=hosts.why_not())

NAMES = ["algo-1", "algo-2"]
TRAIN_PROGRAM = pathlib.Path(sys.executable).parent / "train"  # the toolkit's own
# As CreateTrainingJob has them: all text; names with dashes; booleans as Python writes them; what SDKs add.
HYPERPARAMETERS = {
    **{flag.lstrip("-").split("=")[0].replace("_", "-"): flag.partition("=")[2] for flag in runs.SMALL},
    "jit-compile": "false",  # the toolkit makes it False
    "overlap": "True",
    "checkpoint-period": "200",
    "env": '"CartPole-v1"',
    "model_dir": "s3://bucket/job/model",
    "sagemaker_job_name": '"job"',
}


@pytest.fixture
def network():
    with hosts.hosts(NAMES) as made:
        yield made


@contextlib.contextmanager
def job(directory, hyperparameters, network=None, checkpoints=None):
    """Returns a context with the containers of a job: of two hosts on a network, else of this machine alone."""
    names = NAMES if network else ["localhost"]
    containers = [
        sagemaker.Container(directory, name, names, hyperparameters, network, checkpoints) for name in names
    ]
    try:
        yield containers
    finally:
        for container in containers:
            container.kill()


def train(containers):
    """Starts the containers of a job and waits until all have succeeded."""
    for container in containers:
        container.start()
    for container in containers:
        code = container.finish()
        assert (code, container.failure, container.has_succeeded) == (0, None, True), container.text


def test_one_host_trains_and_leaves_its_model_to_sagemaker(tmp_path):
    with job(tmp_path, HYPERPARAMETERS) as (container,):
        train([container])
        check_model(container.base)
        assert "--model_dir=s3://bucket/job/model is left to SageMaker" in container.text
        config = runs.read_json(container.base / "checkpoints" / "config.json")
        assert (config["training"]["train_env_steps"], config["hardware"]["jit_compile"]) == (1200, "false")


def check_model(base):
    assert (base / "model" / "1" / "saved_model.pb").exists()
    assert list((base / "model").rglob("q_network.keras"))
    assert {"summary.json", "reward_curve.png", "metrics.jsonl"} <= {p.name for p in (base / "output/data").iterdir()}


TWO_HOSTS = {**HYPERPARAMETERS, "strategy": "multiworker", "checkpoint-period": "0"}


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory):
    """Returns the directories of /opt/ml and what is in S3 after a job of two hosts that nothing happened to."""
    directory = tmp_path_factory.mktemp("left_alone")
    with hosts.hosts(NAMES) as made, job(directory, TWO_HOSTS, made, directory / "s3") as containers:
        train(containers)
        return [container.base for container in containers], directory / "s3"


@needs_hosts
def test_two_hosts_train_together_and_the_first_leaves_the_model(left_alone):
    (first, second), _ = left_alone
    check_model(first)
    assert not list((second / "model").iterdir())


@pytest.mark.soak
@needs_hosts
def test_two_hosts_that_are_stopped_save_and_a_second_job_goes_on_to_the_same(left_alone, tmp_path, network):
    store = tmp_path / "s3"
    with job(tmp_path / "stopped", TWO_HOSTS, network, store) as containers:
        for container in containers:
            container.start()
        logdir = containers[0].base / "checkpoints"
        containers[0].wait(lambda: (logdir / "metrics.jsonl").exists() and runs.rows(logdir, "train/loss"))
        for container in containers:
            container.stop()
        for container in containers:
            assert container.finish(120) == 1, container.text  # SageMaker kills then
            assert "ExitCode 143" in container.failure
            assert "SIGTERM: saving at the end of this round" in container.text
    assert 0 < runs.checkpoints(store)[-1] < 1200
    with job(tmp_path / "second", TWO_HOSTS, network, store) as containers:
        train(containers)
        check_model(containers[0].base)
    found, expected = runs.fingerprint(store), runs.fingerprint(left_alone[1])
    del found["checkpoints"], expected["checkpoints"]
    assert found == expected


def test_mistake_in_a_hyperparameter_fails_the_job_and_says_so(tmp_path):
    with job(tmp_path, {"env": "CartPole-v1", "batch-size": "-1"}) as (container,):
        container.start()
        assert container.finish() == 1
        assert container.failure.startswith("--batch_size=-1 must be ")  # what SageMaker shows as FailureReason
        assert not container.has_succeeded
        assert "--batch_size=-1" in container.text  # train.py's own line, in the log


def test_job_that_is_stopped_before_train_starts_ends_at_once(tmp_path):
    with job(tmp_path, HYPERPARAMETERS) as (container,):
        container.start()
        container.wait(lambda: "SIGTERM" in caught(container.process_1))
        container.stop()
        assert container.finish(10) == 143
        assert "Invoking script" not in container.text


def caught(pid):
    """Returns the names of the signals for which a process has handlers."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    mask = int(status.partition("SigCgt:")[2].split()[0], 16)
    return {number.name for number in signal.Signals if mask >> (number - 1) & 1}


SLEEPS = "import pathlib, time; pathlib.Path('started').touch(); time.sleep(600)"


@needs_hosts
def test_train_of_the_toolkit_as_process_1_does_not_pass_sigterm_on(tmp_path, network):
    """The reason for deploy/start.py: once this fails, the toolkit's own program will do."""
    container = sagemaker.Container(tmp_path, "algo-1", NAMES, {}, network)
    (container.base / "code" / "train.py").write_text(SLEEPS)
    try:
        container.start([TRAIN_PROGRAM], SAGEMAKER_PROGRAM="train.py")
        container.wait((container.base / "code" / "started").exists)
        container.stop()
        with pytest.raises(subprocess.TimeoutExpired):
            container.finish(2)
    finally:
        container.kill()

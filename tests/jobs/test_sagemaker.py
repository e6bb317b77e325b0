"""SageMaker's file, checked by Amazon's own description of it and read by SageMaker's own toolkit."""

import json
import os
import re
import subprocess
import sys

import pytest

from dqn_tf.cluster import topology
from dqn_tf.config import flags, schema
from dqn_tf.jobs import sagemaker
from dqn_tf.reporting import metrics
from tests.jobs import jobs

ROLE = "arn:aws:iam::123456789012:role/service-role/trainer"
LOG = """
metrics: env_steps=5000 train/episode_return=23.40 train/loss=0.0123 time/env_steps_per_second=8000.1
metrics: env_steps=5000 eval/return_mean=480.00 eval/return_max=500.00
metrics: env_steps=10000 train/episode_return=-21.00 train/loss=1.5e-07 time/env_steps_per_second=1e+04
metrics: env_steps=10000 eval/return_mean=-3.2E+2 eval/return_max=-0.50
"""


def make_job(**changes):
    defaults = dict(machine="ml.g4dn.2xlarge", region="us-east-1", storage="s3://bucket/runs/", identity=ROLE)
    return jobs.make_job(**{**defaults, **changes})


def read(job):
    return json.loads(sagemaker.files(job).contents["training_job.json"])


def problems(**changes):
    with pytest.raises(schema.ConfigError) as error:
        sagemaker.files(make_job(**changes))
    return list(error.value.problems)


def input_shape():
    session = pytest.importorskip("botocore.session", reason="the extra [cloud] is not installed")
    service = session.get_session().get_service_model("sagemaker")
    return service.operation_model("CreateTrainingJob").input_shape


def violations(shape, value, where="job"):
    """Yields what breaks a pattern, a maximum or an enumeration, which botocore leaves to the service."""
    limits = shape.metadata
    if shape.type_name == "structure":
        for name, inner in value.items():
            yield from violations(shape.members[name], inner, f"{where}.{name}")
    elif shape.type_name == "list":
        for inner in value:
            yield from violations(shape.member, inner, f"{where}[]")
    elif shape.type_name == "map":
        for name, inner in value.items():
            yield from violations(shape.key, name, f"{where}.{name}")
            yield from violations(shape.value, inner, f"{where}.{name}")
    size = value if isinstance(value, int) else len(value)
    if size > limits.get("max", size):
        yield f"{where}: {size} > {limits['max']}"
    if isinstance(value, str):
        pattern = limits.get("pattern", "(?s).*").replace(r"\p{L}\p{Z}\p{N}", r"\w\s")  # re has no \p
        if not re.fullmatch(pattern, value):
            yield f"{where}: {value}"
        if shape.enum and value not in shape.enum:
            yield f"{where}: {value} is none of {len(shape.enum)}"


# Prints what SageMaker's toolkit would start the program with.
TOOLKIT = """
import json
from sagemaker_training import environment
toolkit = environment.Environment()
print(json.dumps([toolkit.to_cmd_args(), toolkit.to_env_vars()]))
"""


def arrived(job, hosts, me, path):
    """Returns arguments and variables of the program on host `me`; `path` stands for /opt/ml."""
    pytest.importorskip("sagemaker_training", reason="the extra [sagemaker] is not installed")
    settings = path / "input" / "config"
    settings.mkdir(parents=True)
    resources = {"current_host": me, "hosts": hosts}
    contents = {"hyperparameters": read(job)["HyperParameters"], "resourceconfig": resources, "inputdataconfig": {}}
    for name, tree in contents.items():
        (settings / f"{name}.json").write_text(json.dumps(tree))
    environ = {**os.environ, "SAGEMAKER_BASE_DIR": str(path)}
    process = subprocess.run([sys.executable, "-c", TOOLKIT], env=environ, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "changes",
    [{}, {"spot": True}, {"workers": 1, "strategy": "default", "max_restarts": 0}, {"max_restarts": 30}],
)
def test_training_job_has_the_shape_that_amazon_describes(changes):
    shape, parameters = input_shape(), read(make_job(**changes))
    report = pytest.importorskip("botocore.validate").ParamValidator().validate(parameters, shape)
    assert not report.has_errors(), report.generate_report()
    assert list(violations(shape, parameters)) == []


def test_training_job_is_described_as_it_was_created():
    moto = pytest.importorskip("moto", reason="the extra [cloud] is not installed")
    boto3 = pytest.importorskip("boto3", reason="the extra [cloud] is not installed")
    parameters = read(make_job(spot=True))
    keys = {"aws_access_key_id": "none", "aws_secret_access_key": "none", "region_name": "us-east-1"}
    with moto.mock_aws():
        client = boto3.client("sagemaker", **keys)
        client.create_training_job(**parameters)
        described = client.describe_training_job(TrainingJobName="dqn-run")
        tags = client.list_tags(ResourceArn=described["TrainingJobArn"])["Tags"]
    # Not kept by moto: retries, and of the algorithm all but its image.
    compared = set(parameters) - {"Tags", "RetryStrategy", "AlgorithmSpecification"}
    assert {name: described.get(name) for name in compared} == {name: parameters[name] for name in compared}
    image = parameters["AlgorithmSpecification"]["TrainingImage"]
    assert described["AlgorithmSpecification"]["TrainingImage"] == image
    assert tags == parameters["Tags"]


def test_training_job_runs_on_the_machines_of_the_job():
    parameters = read(make_job())
    assert parameters["ResourceConfig"] == {
        "InstanceType": "ml.g4dn.2xlarge",
        "InstanceCount": 4,
        "VolumeSizeInGB": 50,
    }
    assert parameters["AlgorithmSpecification"]["TrainingImage"] == "registry.example.com/dqn_tf:1"
    assert parameters["AlgorithmSpecification"]["TrainingInputMode"] == "File"  # the only one without a channel
    assert parameters["StoppingCondition"] == {"MaxRuntimeInSeconds": 3600}
    assert parameters["RetryStrategy"] == {"MaximumRetryAttempts": 3}


def test_places_of_a_run_are_below_storage_and_name():
    parameters = read(make_job())
    assert parameters["CheckpointConfig"] == {
        "S3Uri": "s3://bucket/runs/dqn-run/checkpoints",
        "LocalPath": "/opt/ml/checkpoints",
    }
    assert parameters["OutputDataConfig"] == {"S3OutputPath": "s3://bucket/runs/dqn-run/output"}
    assert parameters["TensorBoardOutputConfig"] == {
        "LocalPath": "/opt/ml/output/tensorboard",
        "S3OutputPath": "s3://bucket/runs/dqn-run/tensorboard",
    }
    assert parameters["HyperParameters"]["tensorboard_dir"] == "/opt/ml/output/tensorboard"


@pytest.mark.parametrize("workers, is_encrypted", [(1, False), (2, True)])
def test_traffic_between_workers_is_encrypted(workers, is_encrypted):
    assert read(make_job(workers=workers))["EnableInterContainerTrafficEncryption"] is is_encrypted


def test_aws_sends_the_job_that_is_in_the_file(tmp_path):
    arn = "arn:aws:sagemaker:us-east-1:123456789012:training-job/dqn-run"
    keys = {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "AWS_MAX_ATTEMPTS": "1"}
    with jobs.cloud({"TrainingJobArn": arn}) as (address, bodies):
        done = jobs.submit(sagemaker.files(make_job()), tmp_path, [f"--endpoint-url={address}"], **keys)
    assert done.returncode == 0, done.stderr
    assert bodies == [read(make_job())]


def test_spot_waits_a_day_longer_than_it_runs():
    parameters = read(make_job(spot=True))
    assert parameters["EnableManagedSpotTraining"] is True
    assert parameters["StoppingCondition"] == {
        "MaxRuntimeInSeconds": 3600,
        "MaxWaitTimeInSeconds": 3600 + 24 * 3600,
    }
    assert read(make_job())["EnableManagedSpotTraining"] is False


def test_job_without_restarts_has_no_strategy_of_them():
    assert "RetryStrategy" not in read(make_job(max_restarts=0))


@pytest.mark.parametrize(
    "name, values",
    [
        ("env_steps", [5000, 5000, 10000, 10000]),
        ("train:episode_return", [23.4, -21.0]),
        ("train:loss", [0.0123, 1.5e-07]),
        ("eval:return_mean", [480.0, -320.0]),
        ("eval:return_max", [500.0, -0.5]),
        ("time:env_steps_per_second", [8000.1, 10000.0]),
    ],
)
def test_metric_finds_its_values_in_the_log(name, values):
    definitions = read(make_job())["AlgorithmSpecification"]["MetricDefinitions"]
    regex = {definition["Name"]: definition["Regex"] for definition in definitions}[name]
    found = [match[1] for line in LOG.splitlines() if (match := re.search(regex, f"2026-01-01 12:00:00 {line}"))]
    assert [float(value) for value in found] == values
    assert len(definitions) == 6


def test_metrics_are_found_in_what_the_trainer_logs(monkeypatch, caplog):
    monkeypatch.setenv("DQN_TF_PROGRESS", "lines")
    caplog.set_level("INFO")
    values = {name.replace(":", "/"): -1.5e-7 for name in sagemaker.METRICS if ":" in name}
    metrics.ProgressDisplay(10_000, 0).tell(5000, values, is_due=True)
    [line] = [message for message in caplog.messages if message.startswith("metrics: ")]
    found = {name: float(re.search(regex, line)[1]) for name, regex in sagemaker.METRICS.items()}
    assert found == {**dict.fromkeys(found, -1.5e-7), "env_steps": 5000}


AWKWARD = (
    "--env=my_module:My Env-v0",
    "--jit_compile=true",  # a choice, not a switch: True would be refused
    "--overlap=false",
    "--hidden_units=64",
    "--learning_rate=1e-4",
    "--optimizer_epsilon=0.00015",
    "--seed=007",
    "--train_env_steps=1e6",
    "--logdir=",
)


def test_hyperparameters_arrive_as_the_flags_that_were_given(tmp_path):
    arguments, _ = arrived(make_job(flags=AWKWARD), ["algo-1"], "algo-1", tmp_path)
    expected = ["--strategy=multiworker", *AWKWARD, "--tensorboard_dir=/opt/ml/output/tensorboard"]
    names, values = arguments[::2], arguments[1::2]
    assert names == sorted(names)
    assert {f"{name}={value}" for name, value in zip(names, values, strict=True)} == set(expected)
    assert flags.parse(["train.py", *arguments]) == flags.parse(["train.py", *expected])
    assert flags.parse(["train.py", *arguments])[1] == []


def test_hosts_of_the_job_find_their_places(tmp_path):
    cluster = topology.resolve(arrived(make_job(workers=2), ["algo-1", "algo-2"], "algo-2", tmp_path)[1])
    assert (cluster.index, cluster.num_workers) == (1, 2)


def test_hyperparameters_are_text():
    sent = sagemaker.hyperparameters(make_job(flags=AWKWARD))
    assert all(isinstance(value, str) for value in sent.values())
    assert (sent["strategy"], sent["hidden_units"], sent["jit_compile"]) == ("multiworker", "64", '"true"')


@pytest.mark.parametrize("identity", ["", "trainer", "arn:aws:iam::123:role/x", "arn:aws:s3:::bucket"])
def test_role_that_is_none_is_refused(identity):
    assert problems(identity=identity) == [
        f"--identity={identity} must be the role that the job runs as, arn:aws:iam::123456789012:role/NAME, "
        "for SageMaker."
    ]


def test_evaluator_is_refused():
    assert problems(evaluator=True) == [
        "--evaluator is not for SageMaker, where all hosts of a job are alike; leave it out, the chief evaluates.",
    ]


def test_commands_are_those_of_the_region_and_the_job():
    files = sagemaker.files(make_job())
    assert list(files.contents) == ["training_job.json"]
    assert files.submit == (
        "aws",
        "sagemaker",
        "create-training-job",
        "--region=us-east-1",
        "--cli-input-json",
        "file://training_job.json",
    )
    assert files.watch == (
        "aws logs tail /aws/sagemaker/TrainingJobs --follow --log-stream-name-prefix=dqn-run/ --region=us-east-1",
        "aws sagemaker describe-training-job --training-job-name=dqn-run --region=us-east-1",
        "aws s3 sync s3://bucket/runs/dqn-run/tensorboard logs && tensorboard --logdir=logs",
    )

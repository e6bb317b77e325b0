"""A run as a training job of Amazon SageMaker. Without Amazon's SDK.

training_job.json has the parameters of CreateTrainingJob. The image is made by deploy/Dockerfile with the extra
sagemaker and USER_ID=0: SageMaker starts it with the one argument "train", and deploy/start.py does the rest.

Sources for fields whose name does not say all:
- After SIGTERM a job has 120 s, if it is stopped or if spot capacity is taken away ("StopTrainingJob").
- Hyperparameters become --name value pairs, sorted by name. A value that is JSON is read as JSON, so that the text true
  would arrive as True (sagemaker_training: mapping.to_cmd_args, environment.read_hyperparameters). A value that would
  change in this way is sent as JSON's text.
- RetryStrategy counts only for InternalServerError, 1 to 30 times. A job with an exit code other than 0 has failed.
  Create it again with another --training-job-name, and the run resumes ("RetryStrategy").
- MaxWaitTimeInSeconds is the wait for spot capacity and the run together ("StoppingCondition").
- /opt/ml/checkpoints is copied to S3 all the time, and back to every host when a job begins ("Enable checkpointing",
  "Resume training from a checkpoint").
"""

import json
import re
import shlex
from typing import Any

from dqn_tf.config.schema import ConfigError
from dqn_tf.jobs.job import Files, Job

TENSORBOARD_DIR = "/opt/ml/output/tensorboard"
# What SageMaker reads from the lines "metrics: env_steps=5000 eval/return_mean=480.00 ..." of the log.
_NUMBER = "([-+.0-9eE]+)"
METRICS = {
    "env_steps": "metrics: env_steps=([0-9]+)",
    "train:episode_return": f"metrics: .*train/episode_return={_NUMBER}",
    "train:loss": f"metrics: .*train/loss={_NUMBER}",
    "eval:return_mean": f"metrics: .*eval/return_mean={_NUMBER}",
    "eval:return_max": f"metrics: .*eval/return_max={_NUMBER}",
    "time:env_steps_per_second": f"metrics: .*time/env_steps_per_second={_NUMBER}",
}
# Two words: with = aws asks for the file's parameters once more (awscli: customizations/arguments.py).
_INPUT = ("--cli-input-json", "file://training_job.json")
_DISK_GB = 50  # at most what machines with disks of their own have
_SPOT_WAIT = 24 * 3600
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@/-]+")


def files(job: Job) -> Files:
    """Returns training_job.json.

    Raises:
      ConfigError: SageMaker would not take the job.
    """
    problems = _problems(job)
    if problems:
        raise ConfigError(*problems)
    region = f"--region={job.region}"
    logs = "aws logs tail /aws/sagemaker/TrainingJobs --follow --log-stream-name-prefix"
    return Files(
        contents={"training_job.json": json.dumps(training_job(job), indent=2) + "\n"},
        submit=("aws", "sagemaker", "create-training-job", region, *_INPUT),
        watch=(
            f"{logs}={job.name}/ {region}",
            f"aws sagemaker describe-training-job --training-job-name={job.name} {region}",
            f"aws s3 sync {shlex.quote(job.place)}/tensorboard logs && tensorboard --logdir=logs",
        ),
    )


def training_job(job: Job) -> dict[str, Any]:
    """Returns the parameters of CreateTrainingJob."""
    base = job.place
    stopping = {"MaxRuntimeInSeconds": job.max_seconds}
    if job.spot:
        stopping["MaxWaitTimeInSeconds"] = job.max_seconds + _SPOT_WAIT
    parameters: dict[str, Any] = {
        "TrainingJobName": job.name,
        "RoleArn": job.identity,
        "AlgorithmSpecification": {
            "TrainingImage": job.image,
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": name, "Regex": regex} for name, regex in METRICS.items()],
        },
        "HyperParameters": hyperparameters(job),
        "ResourceConfig": {
            "InstanceType": job.machine,
            "InstanceCount": job.workers,
            "VolumeSizeInGB": _DISK_GB,
        },
        "OutputDataConfig": {"S3OutputPath": f"{base}/output"},
        "CheckpointConfig": {"S3Uri": f"{base}/checkpoints", "LocalPath": "/opt/ml/checkpoints"},
        "TensorBoardOutputConfig": {"LocalPath": TENSORBOARD_DIR, "S3OutputPath": f"{base}/tensorboard"},
        "EnableManagedSpotTraining": job.spot,
        "EnableInterContainerTrafficEncryption": job.workers > 1,  # TensorFlow's gRPC has no encryption of its own
        "StoppingCondition": stopping,
        "Tags": [{"Key": "program", "Value": "dqn_tf"}],
    }
    if job.max_restarts:
        parameters["RetryStrategy"] = {"MaximumRetryAttempts": job.max_restarts}
    return parameters


def hyperparameters(job: Job) -> dict[str, str]:
    """Returns the flags by name, each as a text that arrives as it was given."""
    given = (flag.removeprefix("--").partition("=") for flag in job.arguments)
    texts = {name: _as_sent(value) for name, _, value in given}
    return {**texts, "tensorboard_dir": TENSORBOARD_DIR}


def _as_sent(value):
    try:
        return value if str(json.loads(value)) == value else json.dumps(value)
    except ValueError:
        return value


def _problems(job):
    problems = []
    if not _ROLE.fullmatch(job.identity):
        problems.append(
            f"--identity={job.identity} must be the role that the job runs as, "
            "arn:aws:iam::123456789012:role/NAME, for SageMaker."
        )
    if job.evaluator:
        problems.append(
            "--evaluator is not for SageMaker, where all hosts of a job are alike; leave it out, the chief evaluates."
        )
    return problems

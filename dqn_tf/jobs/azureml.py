"""A run as a command job of Azure Machine Learning. Without Microsoft's SDK.

Sources for fields whose name does not say all:
- Without `compute` the job runs on serverless compute: resources.instance_type chooses the machine, and job_tier Spot
  of queue_settings chooses low priority ("Model training on serverless compute"). Your own cluster decides both: write
  `compute: azureml:NAME` instead of instance_type and queue_settings.
- distribution: tensorflow sets TF_CONFIG, with a worker on each instance ("CLI (v2) command job YAML schema").
- An output of mode rw_mount is a mounted directory (the same page).
- The name of a job is unique in a workspace, also after its end (the same page). Azure ML does not restart a failed
  job. If it is created again with another --name, it finds the directory of outputs.run unchanged and resumes.
- A tensor_board service shows a directory on the head node while the job runs. The image needs openssh-server and
  ipykernel for services ("Debug jobs and monitor training progress").
- Serverless compute has no system-assigned identity: a managed identity is the workspace's, or is given by its client
  id ("Model training on serverless compute"). azure.ai.ml 1.35 cannot load its resource id.
"""

import re
import shlex
from typing import Any

import yaml

from dqn_tf.config.schema import ConfigError
from dqn_tf.jobs.job import Files, Job

_SCHEMA = "https://azuremlschemas.azureedge.net/latest/commandJob.schema.json"
_TENSORBOARD_DIR = "outputs/tensorboard"  # relative to where the command starts; Azure ML keeps all of outputs/
_CLIENT_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def files(job: Job) -> Files:
    """Returns command_job.yaml.

    Raises:
      ConfigError: Azure ML would not take the job.
    """
    problems = _problems(job)
    if problems:
        raise ConfigError(*problems)
    submit = ("az", "ml", "job", "create", "--file=command_job.yaml")
    header = (
        f"# Made by: {job.command}\n"
        f"# Azure Machine Learning, a command job: {' '.join(submit)}\n"
        "# with --resource-group and --workspace-name, or after: az configure --defaults group=NAME workspace=NAME\n"
    )
    if job.tensorboard:
        tensorboard = f"az ml job show-services --name={job.name}"
    else:  # after its end: azure.ai.ml cannot download a running job's files
        download = f"az ml job download --name={job.name} --output-name=run"
        tensorboard = f"{download} && tensorboard --logdir=named-outputs/run"
    body = yaml.safe_dump(command_job(job), sort_keys=False, width=10_000, allow_unicode=True)
    return Files(
        contents={"command_job.yaml": header + body},
        submit=submit,
        watch=(f"az ml job stream --name={job.name}", tensorboard),
    )


def command_job(job: Job) -> dict[str, Any]:
    """Returns the command job."""
    tree: dict[str, Any] = {
        "$schema": _SCHEMA,
        "type": "command",
        "name": job.name,
        "display_name": job.name,
        "experiment_name": "dqn_tf",
        "command": _command(job),
        "environment": {"image": job.image},
        "outputs": {
            "run": {"type": "uri_folder", "mode": "rw_mount", "path": job.place},
        },
        "resources": {"instance_count": job.workers, "instance_type": job.machine},
        "limits": {"timeout": job.max_seconds},
    }
    if job.strategy == "multiworker":  # also for one worker: without a cluster the program starts a local one
        tree["distribution"] = {"type": "tensorflow", "worker_count": job.workers}
    if job.spot:
        tree["queue_settings"] = {"job_tier": "Spot"}
    if job.identity:
        tree["identity"] = _identity(job.identity)
    if job.tensorboard:
        tree["services"] = {job.tensorboard: {"type": "tensor_board", "log_dir": _TENSORBOARD_DIR}}
    return tree


def _command(job):
    """Returns the command for the shell. ${{...}} is outside of the quotes: Azure ML replaces it by the directory."""
    flags = [shlex.quote(flag).replace("${{", "$''{{") for flag in job.arguments]  # the same to a shell, no expression
    words = ["python", "/app/train.py", *flags, "--logdir=${{outputs.run}}"]
    if job.tensorboard:
        words.append(f"--tensorboard_dir={_TENSORBOARD_DIR}")
    return " ".join(words)


def _identity(text):
    """Returns the managed identity of a client id or of the word managed, None for any other text."""
    if text == "managed":
        return {"type": "managed"}
    return {"type": "managed", "client_id": text} if _CLIENT_ID.fullmatch(text) else None


def _problems(job):
    problems = []
    if job.identity and _identity(job.identity) is None:
        problems.append(
            f"--identity={job.identity} must be managed, which is the workspace's identity, or the client id of a "
            "managed identity, for Azure ML."
        )
    if job.tensorboard and not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", job.tensorboard):
        problems.append(
            f"--tensorboard={job.tensorboard} must be a name for the service that shows it, of letters, digits and _, "
            "for Azure ML."
        )
    if job.evaluator:
        problems.append(
            "--evaluator is not for Azure ML, where all machines of a job are alike; leave it out, the chief evaluates."
        )
    return problems

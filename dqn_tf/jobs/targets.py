"""The platforms: their options, their kind of storage, and the program that submits. Without TensorFlow."""

import dataclasses
import re
from collections.abc import Mapping

_SEGMENTS = r"(/[^\s/?#*\[\]]+)*"
_GS = rf"gs://[a-z0-9][a-z0-9._-]{{1,61}}[a-z0-9]{_SEGMENTS}"
_S3 = rf"s3://[a-z0-9][a-z0-9.-]{{1,61}}[a-z0-9]{_SEGMENTS}"
_AZUREML = r"azureml://(?!.*\$\{\{)(subscriptions(/[^/\s]+)+/)?datastores/[^/\s]+/paths(/[^/\s]+)*"
_CLAIM = r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"
_DIRECTORY = r"/[^\x00-\x1f\x7f]*"
_EVERYWHERE = "name workers gpus storage max_hours identity output submit".split()
_CLOUD = "machine region image spot".split()
_OWN_CLUSTER = "max_restarts grace_seconds cores evaluator".split()
# What a message says after "--name is not an option of PLATFORM".
_INSTEAD = {
    "cores": "; a worker has all cores of its --machine.",
    "evaluator": "; evaluate the run's directory from elsewhere: python train.py --task_type=evaluator.",
    "gpu_type": "; the --machine has its own GPUs.",
    "tensorboard": "; TensorBoard reads --storage.",
}


@dataclasses.dataclass(frozen=True)
class Target:
    """A platform that runs jobs.

    Attributes:
      title: its name in messages.
      options: names of the options it takes.
      required: names of those that must be given.
      storage: what --storage is on this platform, in words.
      storage_example: an example of it.
      storage_pattern: regular expression of it.
      identity: what --identity is on this platform, in words.
      program: the program that submits a job; `install` says how to get it.
      example: options and flags of a job, for --help.
      absent: what to do without an option that the platform does not take, by name.
      restarts: how many --max_restarts may be, (most, what is said of more); None if any number may.
    """

    title: str
    options: frozenset[str]
    required: tuple[str, ...]
    storage: str
    storage_example: str
    storage_pattern: str
    identity: str
    program: str
    install: str
    example: str
    absent: Mapping[str, str] = dataclasses.field(default_factory=dict)
    restarts: tuple[int, str] | None = None

    def takes(self, storage: str) -> bool:
        """Returns whether `storage` is of this platform's kind."""
        return re.fullmatch(self.storage_pattern, storage) is not None

    def instead(self, name: str) -> str:
        """Returns the end of the message about an option that the platform does not take: what to do instead."""
        return self.absent.get(name, _INSTEAD.get(name, "."))


def _cloud(title, *own, required=(), **rest):
    options = frozenset([*_EVERYWHERE, *_CLOUD, *own])
    return Target(title, options, ("machine", "region", "image", "storage", *required), **rest)


def _cluster(title, **rest):
    options = frozenset([*_EVERYWHERE, *_OWN_CLUSTER, "machine", "image", "spot"])
    return Target(
        title,
        options,
        ("image", "storage"),
        absent={"gpu_type": "; choose nodes with --machine."},
        storage="the name of a ReadWriteMany PersistentVolumeClaim, or a Google Cloud Storage path",
        storage_example="dqn-runs or gs://my-bucket/runs",
        storage_pattern=f"{_CLAIM}|{_GS}",
        identity="Kubernetes service account that the job runs as, such as dqn",
        program="kubectl",
        install="https://kubernetes.io/docs/tasks/tools",
        **rest,
    )


TARGETS = {
    "vertex": _cloud(
        "Vertex AI",
        *("gpu_type", "evaluator", "tensorboard", "max_restarts"),
        absent={"grace_seconds": "; it decides the time between SIGTERM and SIGKILL, 30 s on spot machines."},
        storage="a Google Cloud Storage path",
        storage_example="gs://my-bucket/runs",
        storage_pattern=_GS,
        identity="service account that the job runs as, such as trainer@my-project.iam.gserviceaccount.com",
        restarts=(0, "0 for Vertex AI, which chooses how often; leave it out to have restarts"),
        program="gcloud",
        install="https://cloud.google.com/sdk/docs/install",
        example="--machine=n1-standard-8 --region=us-central1 --workers=4 --image=us-docker.pkg.dev/P/R/dqn:1 "
        "--storage=gs://my-bucket/runs --spot --env=ALE/Pong-v5",
    ),
    "sagemaker": _cloud(
        "SageMaker",
        "max_restarts",
        absent={"grace_seconds": "; it gives 120 s between SIGTERM and SIGKILL."},
        storage="an S3 path",
        storage_example="s3://my-bucket/runs",
        storage_pattern=_S3,
        identity="role that the job runs as, such as arn:aws:iam::123456789012:role/dqn",
        restarts=(30, "a whole number from 0 to 30 for SageMaker"),
        program="aws",
        install="https://aws.amazon.com/cli",
        required=("identity",),
        example="--machine=ml.c5.2xlarge --region=us-east-1 --workers=2 "
        "--image=123456789012.dkr.ecr.us-east-1.amazonaws.com/dqn:1 --storage=s3://my-bucket/runs "
        "--identity=arn:aws:iam::123456789012:role/dqn --env=CartPole-v1",
    ),
    "azureml": _cloud(
        "Azure ML",
        "tensorboard",
        absent={
            "grace_seconds": "; it decides the time between SIGTERM and SIGKILL.",
            "max_restarts": "; it starts no job again: az ml job create --name=OTHER resumes the run.",
        },
        storage="a datastore path",
        storage_example="azureml://datastores/workspaceblobstore/paths/runs",
        storage_pattern=_AZUREML,
        identity="managed, for the workspace's identity, or the client id of a managed one",
        program="az",
        install="https://learn.microsoft.com/cli/azure/install-azure-cli, then: az extension add --name ml",
        example="--machine=Standard_D8s_v3 --region=eastus --workers=2 --image=me.azurecr.io/dqn:1 "
        "--storage=azureml://datastores/workspaceblobstore/paths/runs --env=CartPole-v1",
    ),
    "kubernetes": _cluster(
        "Kubernetes",
        example="--workers=4 --gpus=1 --image=ghcr.io/me/dqn:1 --storage=dqn-runs --env=ALE/Pong-v5",
    ),
    "tfjob": _cluster(
        "Kubeflow TFJob",
        example="--workers=4 --evaluator --image=ghcr.io/me/dqn:1 --storage=gs://my-bucket/runs --env=ALE/Pong-v5",
    ),
    "slurm": Target(
        "Slurm",
        frozenset([*_EVERYWHERE, *_OWN_CLUSTER, "partition"]),
        ("storage",),
        absent={
            "machine": "; choose machines with --partition, --cores and --gpus.",
            "spot": "; name a partition whose jobs may be preempted, --partition=...",
            "image": "; the job runs in the Python environment from which it is submitted.",
            "tensorboard": "; read the run's directory with tensorboard --logdir.",
        },
        storage="an absolute path of a directory that all nodes see",
        storage_example="/shared/runs",
        storage_pattern=_DIRECTORY,
        identity="account that is charged",
        program="sbatch",
        install="https://slurm.schedmd.com; a login node of the cluster has it",
        example="--workers=4 --cores=8 --gpus=1 --partition=gpu --storage=/shared/runs --env=ALE/Pong-v5",
    ),
}

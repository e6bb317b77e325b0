"""What each platform takes of a job: its options, its kind of storage, the program that submits. Without TensorFlow."""

import dataclasses
import re

_GS = r"gs://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9](/[^\s?#*\[\]]+)*"
_S3 = r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\s?#*\[\]]+)*"
_AZUREML = r"azureml://(subscriptions/\S+/)?datastores/[^/\s]+/paths(/\S*)?"
_CLAIM = r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"
_DIRECTORY = r"/[^\x00-\x1f\x7f]*"
_EVERYWHERE = "name workers gpus storage max_hours max_restarts grace_seconds identity output submit".split()
_PRICED = "machine region prices image spot".split()


@dataclasses.dataclass(frozen=True)
class Target:
    """A platform that runs jobs.

    Attributes:
      title: its name in messages.
      options: names of the options it takes.
      required: names of those that must be given.
      storage: what --storage is there, in words.
      storage_example: one.
      storage_pattern: which all match.
      program: what submits a job, and `install` where to get it.
      example: options and flags of a job, for --help.
    """

    title: str
    options: frozenset[str]
    required: tuple[str, ...]
    storage: str
    storage_example: str
    storage_pattern: str
    program: str
    install: str
    example: str

    def takes(self, storage: str) -> bool:
        """Returns whether `storage` is of this platform's kind."""
        return re.fullmatch(self.storage_pattern, storage) is not None


def _cloud(title, *own, required=(), **rest):
    options = frozenset([*_EVERYWHERE, *_PRICED, *own])
    return Target(title, options, ("machine", "region", "image", "storage", *required), **rest)


def _cluster(title, **rest):
    options = frozenset([*_EVERYWHERE, *_PRICED, "cores", "evaluator"])
    return Target(
        title,
        options,
        ("image", "storage"),
        storage="the name of a ReadWriteMany PersistentVolumeClaim, or a Google Cloud Storage path",
        storage_example="dqn-runs or gs://my-bucket/runs",
        storage_pattern=f"{_CLAIM}|{_GS}",
        program="kubectl",
        install="https://kubernetes.io/docs/tasks/tools",
        **rest,
    )


TARGETS = {
    "vertex": _cloud(
        "Vertex AI",
        "evaluator",
        "tensorboard",
        storage="a Google Cloud Storage path",
        storage_example="gs://my-bucket/runs",
        storage_pattern=_GS,
        program="gcloud",
        install="https://cloud.google.com/sdk/docs/install",
        example="--machine=n1-standard-8 --region=us-central1 --workers=4 --image=us-docker.pkg.dev/P/R/dqn:1 "
        "--storage=gs://my-bucket/runs --spot --env=ALE/Pong-v5",
    ),
    "sagemaker": _cloud(
        "SageMaker",
        storage="an S3 path",
        storage_example="s3://my-bucket/runs",
        storage_pattern=_S3,
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
        storage="a datastore path",
        storage_example="azureml://datastores/workspaceblobstore/paths/runs",
        storage_pattern=_AZUREML,
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
        frozenset([*_EVERYWHERE, "cores", "partition", "evaluator"]),
        ("storage",),
        storage="an absolute path of a directory that all nodes see",
        storage_example="/shared/runs",
        storage_pattern=_DIRECTORY,
        program="sbatch",
        install="https://slurm.schedmd.com; a login node of the cluster has it",
        example="--workers=4 --cores=8 --gpus=1 --partition=gpu --storage=/shared/runs --env=ALE/Pong-v5",
    ),
}

"""What a job file says, whatever the platform."""

import dataclasses

from dqn_tf.jobs.cost.prices import Machine


@dataclasses.dataclass(frozen=True)
class Job:
    """A run as it is to be submitted.

    Attributes:
      name: of the job; lower-case letters, digits and dashes.
      flags: of train.py, --name=value each, without program name, strategy and places.
      strategy: default, mirrored or multiworker.
      workers: machines that train together, each in a process of its own.
      gpus: on each machine.
      machine: of each worker; None where the cluster's owner decides (Kubernetes, TFJob, Slurm).
      region: of the price file; "" where there is none.
      image: container image; "" for Slurm.
      storage: where checkpoints and results are kept: gs:// for Vertex AI, s3:// for SageMaker, azureml:// for Azure
        ML, the name of a ReadWriteMany PersistentVolumeClaim or gs:// for Kubernetes and TFJob, a directory for Slurm.
      spot: on capacity that may be taken away, at a lower price.
      evaluator: one more task that evaluates the checkpoints beside the training; not on SageMaker and Azure ML.
      tensorboard: the platform's TensorBoard instance, "" for none.
      identity: service account or role that the job runs as, "" for the platform's default.
      max_seconds: after which the platform ends the job.
      max_restarts: after failures that are not the user's mistake; not on Azure ML.
      grace_seconds: between SIGTERM and SIGKILL; Kubernetes, TFJob, Slurm.
      cores: of each worker where no machine says it; Kubernetes, TFJob, Slurm.
      memory_gib: of main memory that each worker asks for where no machine says it; the same.
      partition: of Slurm, "" for its default.
      command: that makes these files, for a comment in them; on one line.
    """

    name: str
    flags: tuple[str, ...]
    strategy: str
    workers: int
    gpus: int
    machine: Machine | None
    region: str
    image: str
    storage: str
    spot: bool
    evaluator: bool
    tensorboard: str
    identity: str
    max_seconds: int
    max_restarts: int
    grace_seconds: int
    cores: int = 2
    memory_gib: int = 2
    partition: str = ""
    command: str = ""

    @property
    def place(self) -> str:
        """Where this run is kept: its directory below `storage`."""
        return f"{self.storage.rstrip('/')}/{self.name}"

    @property
    def arguments(self) -> tuple[str, ...]:
        """All of train.py's flags except places such as --logdir."""
        evaluator = ("--evaluated_by=evaluator",) if self.evaluator else ()
        return (f"--strategy={self.strategy}", *evaluator, *self.flags)


@dataclasses.dataclass(frozen=True)
class Files:
    """What is written for a job.

    Attributes:
      contents: text of each file, by name.
      submit: the command that submits the job, as its words. Where these name one of the files, alone or at the end
        of a word, its path is put in its place.
      watch: commands, one a line, that show how it goes: log and TensorBoard. Files are named likewise.
    """

    contents: dict[str, str]
    submit: tuple[str, ...]
    watch: tuple[str, ...]

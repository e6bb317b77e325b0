"""What a job file says on every platform."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Job:
    """A run to be submitted.

    Attributes:
      name: of the job; lower-case letters, digits and dashes.
      flags: of train.py, --name=value each, without program name, strategy and places.
      strategy: default, mirrored or multiworker.
      workers: machines that train together, each with one process.
      gpus: on each machine.
      gpu_type: of these GPUs; Vertex AI, which must be told.
      machine: type of each worker's machine; "" if the cluster's owner decides (Kubernetes, TFJob, Slurm).
      region: of Vertex AI, SageMaker and Azure ML.
      image: container image; "" for Slurm.
      storage: where checkpoints and results are kept: gs:// for Vertex AI, s3:// for SageMaker, azureml:// for Azure
        ML, the name of a ReadWriteMany PersistentVolumeClaim or gs:// for Kubernetes and TFJob, a directory for Slurm.
      spot: on machines that may be taken away, at a lower price.
      evaluator: one more task that evaluates the checkpoints beside the training; not on SageMaker and Azure ML.
      tensorboard: the platform's TensorBoard instance, "" for none.
      identity: service account or role that the job runs as, "" for the platform's default.
      max_seconds: after which the platform ends the job.
      max_restarts: after failures that are not the user's mistake; not on Azure ML.
      grace_seconds: between SIGTERM and SIGKILL; Kubernetes, TFJob, Slurm.
      cores: that each worker asks for; Kubernetes, TFJob, Slurm.
      memory_gib: main memory that each worker asks for; the same.
      partition: of Slurm, "" for its default.
      command: that makes these files, for a comment in them; on one line.
    """

    name: str
    flags: tuple[str, ...]
    strategy: str
    workers: int
    gpus: int
    machine: str
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
    gpu_type: str = ""
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
      submit: the command that submits the job, as its words. A word that is the name of one of the files, or ends in
        it, gets the file's path instead.
      watch: commands, one a line, that show log and TensorBoard. They name files in the same way.
    """

    contents: dict[str, str]
    submit: tuple[str, ...]
    watch: tuple[str, ...]

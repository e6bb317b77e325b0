"""A run as a TFJob of Kubeflow's training operator v1, which sets TF_CONFIG.

Sources for fields whose name does not say all (kubeflow/training-operator, release-1.9, pkg/controller.v1):
- TF_CONFIG is set in the container with the name tensorflow, and only if there is more than one replica
  (tensorflow/tfjob_controller.go, SetClusterSpec). Port 2222 must have the name tfjob-port.
- There is no Chief: worker 0 is this program's chief. Without a Chief the job succeeds when worker 0 succeeds
  (tensorflow/tfjob_controller.go, UpdateJobStatus).
- restartPolicy ExitCode starts a pod again if its exit code is 128 or more, such as 143. Any other code fails the job
  (util/train/train_util.go, IsRetryableExitCode).
- Such a restart is a new pod. backoffLimit does not count it (core/job.go, PastBackoffLimit), so activeDeadlineSeconds
  ends a worker that starts again for ever.
- cleanPodPolicy Running ends the pods that still run after the job, such as an evaluator. Finished pods keep their
  logs.
"""

from dqn_tf.cluster import platforms
from dqn_tf.jobs import pods
from dqn_tf.jobs.job import Files, Job

_CONTAINER = "tensorflow"


def files(job: Job) -> Files:
    """Returns tfjob.yaml, and tensorboard.yaml to look at the run with.

    Raises:
      ConfigError: Kubernetes would not take the job.
    """
    chief = f"training.kubeflow.org/job-name={job.name},training.kubeflow.org/replica-type=worker"
    chief += ",training.kubeflow.org/replica-index=0"
    return Files(
        contents={"tfjob.yaml": pods.to_yaml(job, pods.network_policy(job), _tfjob(job)), **pods.tensorboard_file(job)},
        submit=("kubectl", "apply", "--filename=tfjob.yaml"),
        watch=(
            f"kubectl get tfjob {job.name} --watch",
            f"kubectl logs --follow --tail=-1 --selector={chief}",
            pods.watch_tensorboard(job),
        ),
    )


def _tfjob(job):
    replicas = {"Worker": _replicas(job, "worker", job.workers)}
    if job.evaluator:
        replicas["Evaluator"] = _replicas(job, "evaluator", 1)
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "TFJob",
        "metadata": {"name": job.name, "labels": pods.labels(job, "worker")},
        "spec": {
            "runPolicy": {
                "backoffLimit": job.max_restarts,
                "activeDeadlineSeconds": job.max_seconds,
                "cleanPodPolicy": "Running",
            },
            "tfReplicaSpecs": replicas,
        },
    }


def _replicas(job, role, number):
    ports = [{"name": "tfjob-port", "containerPort": platforms.PORT}]
    return {
        "replicas": number,
        "restartPolicy": "ExitCode",
        "template": pods.template(job, role, _CONTAINER, ports=ports),
    }

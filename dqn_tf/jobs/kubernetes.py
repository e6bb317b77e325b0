"""A run as an Indexed Job of Kubernetes, and a headless Service by which its pods find each other.

Sources for fields whose name does not say all:
- A pod of an Indexed Job has the host name <job>-<index> and the variable JOB_COMPLETION_INDEX. The pod's subdomain is
  the name of the Service, so its address is <job>-<index>.<service> (Kubernetes, "Job with Pod-to-Pod Communication").
- Pods look for each other before they are ready, so publishNotReadyAddresses is set ("DNS for Services and Pods").
- Exit code 2 of one pod fails the whole Job and ends the other pods: a mistake in the command is the same in all of
  them ("Pod failure policy", FailJob).
- podFailurePolicy requires restartPolicy Never. The first rule that fits counts; if no rule fits, the failure counts
  against backoffLimit ("Pod failure policy"). After an ignored failure the pod starts again; activeDeadlineSeconds ends
  a worker that starts again for ever.
- With a podFailurePolicy a pod is replaced only after it has ended, so a run never has two chiefs ("Jobs", "Delayed
  creation of replacement pods").
"""

from typing import Any

from dqn_tf.cluster import platforms
from dqn_tf.jobs import pods
from dqn_tf.jobs.job import Files, Job

_CONTAINER = "train"


def files(job: Job) -> Files:
    """Returns job.yaml, and tensorboard.yaml to look at the run with.

    Raises:
      ConfigError: Kubernetes would not take the job.
    """
    documents = [_service(job), pods.network_policy(job), _workers(job)]
    if job.evaluator:
        documents.append(_evaluator(job))
    chief = f"batch.kubernetes.io/job-name={job.name},batch.kubernetes.io/job-completion-index=0"
    return Files(
        contents={"job.yaml": pods.to_yaml(job, *documents), **pods.tensorboard_file(job)},
        submit=("kubectl", "apply", "--filename=job.yaml"),
        watch=(
            f"kubectl get pods --watch --selector=app.kubernetes.io/instance={job.name}",
            f"kubectl logs --follow --tail=-1 --selector={chief}",
            pods.watch_tensorboard(job),
        ),
    )


def _service(job):
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": job.name, "labels": pods.labels(job, "worker")},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": pods.labels(job, "worker"),
            "ports": [{"name": "grpc", "port": platforms.PORT}],
        },
    }


def _workers(job):
    variables = {"JOB_NAME": job.name, "JOB_SERVICE": job.name, "JOB_PARALLELISM": str(job.workers)}
    template = pods.template(
        job,
        "worker",
        _CONTAINER,
        ports=[{"name": "grpc", "containerPort": platforms.PORT}],
        env=[{"name": name, "value": value} for name, value in variables.items()],
    )
    template["spec"]["subdomain"] = job.name
    return _job(job, job.name, template, completionMode="Indexed", completions=job.workers, parallelism=job.workers)


def _evaluator(job):
    return _job(job, f"{job.name}-evaluator", pods.template(job, "evaluator", _CONTAINER))


def _job(job: Job, name: str, template: dict[str, Any], **spec: Any) -> dict[str, Any]:
    template["spec"]["restartPolicy"] = "Never"
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": template["metadata"]["labels"]},
        "spec": {
            **spec,
            "backoffLimit": job.max_restarts,
            "activeDeadlineSeconds": job.max_seconds,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {"action": "Ignore", "onExitCodes": _exit_code(143)},  # start me again
                    {"action": "FailJob", "onExitCodes": _exit_code(2)},  # the user's mistake
                ]
            },
            "template": template,
        },
    }


def _exit_code(code):
    return {"containerName": _CONTAINER, "operator": "In", "values": [code]}

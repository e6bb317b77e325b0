"""What Kubernetes and Kubeflow jobs share: pods, who may reach them, how to watch them, and YAML."""

import re
from typing import Any

import yaml

from dqn_tf.config.schema import ConfigError
from dqn_tf.jobs.job import Job

_USER = 1000  # any user except root; files on the claim belong to this group
_POD_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": _USER,
    "runAsGroup": _USER,
    "fsGroup": _USER,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}
_CONTAINER_SECURITY = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
_MOUNT = "/runs"
_LITTLE = {"requests": {"cpu": "1", "memory": "2Gi"}}  # for an evaluator, and for TensorBoard
_SPOT = {  # the label of nodes that may be taken away
    "GKE": ("cloud.google.com/gke-spot", "true"),
    "EKS": ("eks.amazonaws.com/capacityType", "SPOT"),
    "AKS": ("kubernetes.azure.com/scalesetpriority", "spot"),
    "Karpenter": ("karpenter.sh/capacity-type", "spot"),
}


class _Plain(yaml.SafeDumper):
    """Writes a value that occurs twice in full, not as a reference to the first one."""

    def ignore_aliases(self, data):
        return True


def labels(job: Job, role: str) -> dict[str, str]:
    """Returns the labels of the pods of one role: worker, evaluator, tensorboard."""
    return {
        "app.kubernetes.io/name": "dqn-tf",
        "app.kubernetes.io/instance": job.name,
        "app.kubernetes.io/component": role,
    }


def logdir(job: Job) -> str:
    """Returns where the run is kept, as its pods see it."""
    return job.place if _is_bucket(job) else f"{_MOUNT}/{job.name}"


def template(job: Job, role: str, container: str, **container_fields: Any) -> dict[str, Any]:
    """Returns the pod template of one role: worker, evaluator or tensorboard. The caller may add fields.

    Args:
      container: name of the only container.
      container_fields: added to it.
    """
    if not re.fullmatch(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?", job.identity):
        raise ConfigError(f"--identity={job.identity} must be the name of a Kubernetes service account, such as dqn.")
    is_worker = role == "worker"
    pod = {
        "securityContext": _POD_SECURITY,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": job.grace_seconds,
        "automountServiceAccountToken": bool(job.identity),
        "containers": [
            {
                "name": container,
                "image": job.image,
                **({"command": ["tensorboard"]} if role == "tensorboard" else {}),  # else train.py
                # $(NAME) would be a variable, and $$ is how Kubernetes writes a $.
                "args": [word.replace("$", "$$") for word in _words(job, role)],
                **container_fields,
                "securityContext": _CONTAINER_SECURITY,
            }
        ],
    }
    variables = pod["containers"][0].setdefault("env", [])
    variables.append({"name": "HOME", "value": "/tmp"})  # this user has no home
    if not (is_worker and job.gpus):  # else the image asks for all GPUs
        variables.append({"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"})
    if job.identity:
        pod["serviceAccountName"] = job.identity
    pod["containers"][0]["resources"] = _resources(job) if is_worker else _LITTLE
    _place(pod, job, is_worker)
    _mount(pod, job, is_worker)
    return {"metadata": {"labels": labels(job, role)}, "spec": pod}


def _words(job, role):
    place = f"--logdir={logdir(job)}"
    if role == "tensorboard":
        return [place, "--host=127.0.0.1"]
    return [*job.arguments, place, *(["--task_type=evaluator"] if role == "evaluator" else [])]


def _resources(job):
    resources = {"requests": {"cpu": str(job.cores), "memory": f"{job.memory_gib}Gi"}}
    if job.gpus:
        resources["limits"] = {"nvidia.com/gpu": str(job.gpus)}
    return resources


def _place(pod, job, is_worker):
    """Chooses nodes. The evaluator needs no GPU and not the workers' type of machine."""
    chosen, taints = {}, []
    if is_worker and job.machine:
        chosen["node.kubernetes.io/instance-type"] = job.machine
    if job.spot:
        label, value = _SPOT[_owner(job)]
        chosen[label] = value
        taints += [{"key": key, "operator": "Exists", "effect": "NoSchedule"} for key, _ in _SPOT.values()]
    if is_worker and job.gpus:
        taints.append({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"})
    pod.update({name: value for name, value in (("nodeSelector", chosen), ("tolerations", taints)) if value})
    if is_worker and job.workers > 1:
        pod["topologySpreadConstraints"] = [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": labels(job, "worker")},
            }
        ]


def _owner(job):
    """Returns the cloud of a machine type, by its name: m5.xlarge, Standard_D4s_v3, or n1-standard-4."""
    return "AKS" if job.machine.startswith("Standard_") else "EKS" if "." in job.machine else "GKE"


def _mount(pod, job, is_worker):
    volumes, mounts = [], []
    if not _is_bucket(job):
        volumes.append({"name": "runs", "persistentVolumeClaim": {"claimName": job.storage}})
        mounts.append({"name": "runs", "mountPath": _MOUNT})
    if is_worker and (job.gpus > 1 or "--vectorization=async" in job.flags):  # the usual 64 MB are too little
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory"}})
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})
    if volumes:
        pod["volumes"], pod["containers"][0]["volumeMounts"] = volumes, mounts


def _is_bucket(job):
    return "://" in job.storage


def tensorboard_file(job: Job) -> dict[str, str]:
    """Returns tensorboard.yaml: a pod that shows the run to users who may forward its port."""
    pod = template(job, "tensorboard", "tensorboard")
    document = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{job.name}-tensorboard", **pod["metadata"]},
        "spec": {**pod["spec"], "restartPolicy": "OnFailure"},
    }
    return {"tensorboard.yaml": to_yaml(job, document)}


def watch_tensorboard(job: Job) -> str:
    """Returns the command that starts this pod and forwards its port to http://localhost:6006."""
    pod = f"pod/{job.name}-tensorboard"
    return (
        f"kubectl apply --filename=tensorboard.yaml && kubectl wait --for=condition=Ready --timeout=10m {pod} && "
        f"kubectl port-forward {pod} 6006"
    )


def network_policy(job: Job) -> dict[str, Any]:
    """Returns the NetworkPolicy that lets only workers reach workers: TensorFlow's gRPC has no authentication."""
    workers = {"matchLabels": labels(job, "worker")}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": job.name, "labels": labels(job, "worker")},
        "spec": {"podSelector": workers, "policyTypes": ["Ingress"], "ingress": [{"from": [{"podSelector": workers}]}]},
    }


def to_yaml(job: Job, *documents: dict[str, Any]) -> str:
    """Returns the documents as one YAML file that says how it was made."""
    notes = [f"Made by: {job.command}"]
    if job.spot:
        notes.append(f"The label of spot nodes is that of {_owner(job)}; replace it elsewhere:")
        notes += [f"  {owner}: {label}: {value}" for owner, (label, value) in _SPOT.items()]
    header = "".join(f"# {line}\n" for line in notes)
    return header + yaml.dump_all(documents, Dumper=_Plain, sort_keys=False, width=10_000, explicit_start=True)

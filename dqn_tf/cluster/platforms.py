"""Reads the cluster from the variables of platforms that set no TF_CONFIG, in its form. Without TensorFlow.

SageMaker's own containers (SM_HOSTS), Vertex AI (CLUSTER_SPEC), Slurm's srun, and a Kubernetes Indexed Job.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dqn_tf.cluster import tf_config as spec_lib
from dqn_tf.config import schema

PORT = 2222
_VERTEX_POOLS = {"workerpool0": "chief", "workerpool1": "worker", "workerpool2": "ps", "workerpool3": "evaluator"}
_HOST = re.compile("[A-Za-z0-9_][A-Za-z0-9._-]*")
_RANGE = re.compile("([0-9]{1,9})(?:-([0-9]{1,9}))?")
_TASKS = re.compile(r"([0-9]{1,4})(?:\(x([0-9]{1,9})\))?")
_MOST_NODES = 100_000


def find(environ: Mapping[str, str]) -> list[tuple[str, dict[str, Any]]]:
    """Returns the name and {"cluster": ..., "task": ...} of each platform found, in order of precedence.

    Raises:
      config.ConfigError: a platform's variables cannot be read.
    """
    if _is_set(environ, "SM_HOSTS") != _is_set(environ, "SM_CURRENT_HOST"):
        raise schema.ConfigError("Of SM_HOSTS and SM_CURRENT_HOST one is not set; set both, as SageMaker does.")
    found = []
    for marks, name, read in _PLATFORMS:
        if all(_is_set(environ, mark) for mark in marks):
            found.append((name, read(environ)))
    return found


def check_agreement(clusters: Sequence[Any]) -> None:
    """Raises ConfigError if sources disagree on the hosts or on the index of this process; ports may differ.

    Args:
      clusters: topology.Topology of each source.
    """
    first = clusters[0]
    for other in clusters[1:]:
        if first.hosts != other.hosts or first.index != other.index:
            raise schema.ConfigError(
                f"{_claim(first)}, {_claim(other)}; unset the one that is wrong, or give --tf_config=FILE."
            )


def _claim(cluster):
    me = "the evaluator" if cluster.index is None else f"worker {cluster.index}"
    return f"{cluster.source} says {me} of {spec_lib.show(', '.join(cluster.workers), quote='')}"


def _sagemaker(environ):
    hosts, me = _json(environ, "SM_HOSTS"), environ["SM_CURRENT_HOST"].strip()
    if not (isinstance(hosts, list) and hosts and all(_is_host(host) for host in hosts)):
        raise schema.ConfigError(
            f'{_given(environ, "SM_HOSTS")} must be a list of host names such as ["algo-1","algo-2"], without ports.'
        )
    if me not in hosts:
        raise schema.ConfigError(
            f"{_given(environ, 'SM_CURRENT_HOST')} is not one of {_given(environ, 'SM_HOSTS')}; correct or unset them."
        )
    return _workers([f"{host}:{PORT}" for host in hosts], hosts.index(me))


def _vertex(environ):
    spec = _json(environ, "CLUSTER_SPEC")
    cluster, task = (spec.get(name) if isinstance(spec, dict) else None for name in ("cluster", "task"))
    if not isinstance(cluster, dict) or not isinstance(task, dict):
        raise schema.ConfigError(f'{_given(environ, "CLUSTER_SPEC")} must hold "cluster" and "task".')
    mine = task.get("type")
    for pool in (*cluster, mine):
        if not isinstance(pool, str) or pool not in _VERTEX_POOLS:
            raise schema.ConfigError(
                f"CLUSTER_SPEC has the worker pool {spec_lib.show(pool)}; there are workerpool0 (the chief), "
                "workerpool1 (workers), workerpool2 (parameter servers) and workerpool3 (evaluators)."
            )
    roles = {_VERTEX_POOLS[pool]: addresses for pool, addresses in cluster.items()}
    roles.pop("ps", None)
    return {"cluster": roles, "task": {"type": _VERTEX_POOLS[mine], "index": task.get("index")}}


def _slurm(environ):
    counted = next((name for name in ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS") if _is_set(environ, name)), None)
    if counted is None:
        raise schema.ConfigError(
            "SLURM_STEP_NODELIST is set but neither SLURM_STEP_NUM_TASKS nor SLURM_NTASKS; start all tasks with srun."
        )
    number, count = _number(environ, "SLURM_PROCID"), _number(environ, counted)
    nodes = expand_nodes(environ["SLURM_STEP_NODELIST"])
    counts = _tasks_per_node(environ, counted, count, len(nodes))
    if number >= count:
        raise schema.ConfigError(f"SLURM_PROCID={number} must be below {counted}={count}.")
    places = [(node, local) for node, tasks in zip(nodes, counts, strict=True) for local in range(tasks)]
    if _is_set(environ, "SLURM_LOCALID") and _number(environ, "SLURM_LOCALID") != places[number][1]:
        raise schema.ConfigError(
            f"{_given(environ, 'SLURM_LOCALID')} of SLURM_PROCID={number}: tasks must fill one node after the "
            "other; start them with srun --distribution=block."
        )
    first = _first_port(environ)
    return _workers([f"{node}:{first + local}" for node, local in places], number)


def _first_port(environ):
    """Returns the port of a node's first task. Each job and step has its own, since they may share a node.

    A step has 16 ports, a job 64, from 12288 to 32767: below the ports that Linux gives to connections. So two jobs
    have the same ports only if their numbers differ by a multiple of 320.
    """
    if not _is_set(environ, "SLURM_JOB_ID"):
        return PORT
    job = _number(environ, "SLURM_JOB_ID", 10)
    step = _number(environ, "SLURM_STEP_ID", 10) if _is_set(environ, "SLURM_STEP_ID") else 0
    return 12_288 + 16 * ((4 * job + step) % 1280)


def expand_nodes(text: str) -> list[str]:
    """Returns the nodes of a list of Slurm such as n[09-10,12],rack[1-2]n[1-3], in order. Raises ConfigError."""
    given = _given({"SLURM_STEP_NODELIST": text}, "SLURM_STEP_NODELIST")
    parts = re.findall(r"(?:[^,\[\]]|\[[^\[\]]*\])+", text.strip())
    if not parts or ",".join(parts) != text.strip():
        raise schema.ConfigError(f"{given} is not a list of nodes such as n[1-3],m7.")
    nodes = []
    for part in parts:
        nodes += _expand(part, given)
        if len(nodes) > _MOST_NODES:
            raise schema.ConfigError(f"{given} has more than {_MOST_NODES} nodes.")
    for node in nodes:
        if not _is_host(node):
            raise schema.ConfigError(f"{given} has the node {spec_lib.show(node)}, which is no host name.")
    return nodes


def _expand(part, given):
    """Returns the nodes of rack[1-2]n[1-3]; the last number counts fastest."""
    texts = re.split(r"\[([^\]]*)\]", part)  # every other one was in brackets
    choices = [_numbers(text, given) if i % 2 else [text] for i, text in enumerate(texts)]
    if math.prod(map(len, choices)) > _MOST_NODES:
        raise schema.ConfigError(f"{given} has more than {_MOST_NODES} nodes.")
    names = [""]
    for choice in choices:
        names = [name + end for name in names for end in choice]
    return names


def _numbers(text, given):
    """Returns the numbers of 09-10,12 as text, with leading zeros."""
    numbers = []
    for item in text.split(","):
        match = _RANGE.fullmatch(item)
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not low <= high <= low + _MOST_NODES - len(numbers):
            raise schema.ConfigError(f"{given}: {spec_lib.show(f'[{text}]', '')} is not a list of numbers and ranges.")
        numbers += [f"{number:0{len(match[1])}d}" for number in range(low, high + 1)]
    return numbers


def _tasks_per_node(environ, counted, count, num_nodes):
    """Returns the number of tasks of each node from Slurm's 2(x3),1; if it is not set, the same for each."""
    name = "SLURM_STEP_TASKS_PER_NODE"
    if not _is_set(environ, name):
        if count % num_nodes:
            raise schema.ConfigError(
                f"{counted}={count} cannot be shared out evenly among {num_nodes} nodes, and {name} is not set; "
                "set it, such as 2(x3),1."
            )
        return [count // num_nodes] * num_nodes
    matches = [_TASKS.fullmatch(item) for item in environ[name].strip().split(",")]
    if not all(matches):
        raise schema.ConfigError(f"{_given(environ, name)} must look like 2(x3),1.")
    counts = []
    for match in matches:
        counts += [int(match[1])] * min(int(match[2] or 1), num_nodes + 1 - len(counts))
    if len(counts) != num_nodes:
        raise schema.ConfigError(f"{_given(environ, name)} is not of the {num_nodes} nodes of the step.")
    if sum(counts) != count:
        raise schema.ConfigError(f"{_given(environ, name)} makes {sum(counts)} tasks, {counted}={count}.")
    return counts


def _kubernetes(environ):
    missing = [name for name in ("JOB_NAME", "JOB_SERVICE", "JOB_PARALLELISM") if not _is_set(environ, name)]
    if missing:
        raise schema.ConfigError(
            f"JOB_COMPLETION_INDEX is set but {' and '.join(missing)} not; an Indexed Job must tell its pods its name, "
            "its headless service and its parallelism."
        )
    for name in ("JOB_NAME", "JOB_SERVICE"):
        if not _is_host(environ[name].strip()):
            raise schema.ConfigError(f"{_given(environ, name)} must be part of a host name: letters, digits, -, dots.")
    number, count = _number(environ, "JOB_COMPLETION_INDEX"), _number(environ, "JOB_PARALLELISM")
    if number >= count:
        raise schema.ConfigError(f"JOB_COMPLETION_INDEX={number} must be below JOB_PARALLELISM={count}.")
    job, service = environ["JOB_NAME"].strip(), environ["JOB_SERVICE"].strip()
    return _workers([f"{job}-{i}.{service}:{PORT}" for i in range(count)], number)


def _workers(addresses, index):
    return {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}


def _is_set(environ, name):
    return bool(environ.get(name, "").strip())


def _is_host(name):
    return isinstance(name, str) and _HOST.fullmatch(name) is not None


def _given(environ, name):
    """Returns NAME=value as given, with about 60 characters at most."""
    return f"{name}={spec_lib.show(environ[name].strip(), quote='')}"


def _json(environ, name):
    try:
        return json.loads(environ[name])
    except (ValueError, RecursionError):
        raise schema.ConfigError(f"{_given(environ, name)} is not JSON.") from None


def _number(environ, name, digits=6):
    text = environ[name].strip()
    if not re.fullmatch(f"[0-9]{{1,{digits}}}", text):
        raise schema.ConfigError(f"{_given(environ, name)} must be a whole number.")
    return int(text)


_PLATFORMS: tuple[tuple[tuple[str, ...], str, Callable[[Mapping[str, str]], dict[str, Any]]], ...] = (
    (("SM_HOSTS", "SM_CURRENT_HOST"), "SM_HOSTS of SageMaker", _sagemaker),
    (("CLUSTER_SPEC",), "CLUSTER_SPEC of Vertex AI", _vertex),
    # Only srun sets the node list of the step: a batch script is one process, although it has the other variables.
    (("SLURM_PROCID", "SLURM_STEP_NODELIST"), "srun of Slurm", _slurm),
    (("JOB_COMPLETION_INDEX",), "JOB_COMPLETION_INDEX of a Kubernetes Indexed Job", _kubernetes),
)

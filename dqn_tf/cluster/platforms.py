"""What platforms that set no TF_CONFIG tell a process of its cluster, in the form of TF_CONFIG. Without TensorFlow.

SageMaker's own containers (SM_HOSTS), Vertex AI (CLUSTER_SPEC), Slurm's srun, and a Kubernetes Indexed Job.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dqn_tf import config

PORT = 2222
_VERTEX_POOLS = {"workerpool0": "chief", "workerpool1": "worker", "workerpool2": "ps", "workerpool3": "evaluator"}
_TASKS = re.compile(r"(\d+)(?:\(x(\d+)\))?")


def find(environ: Mapping[str, str]) -> list[tuple[str, dict[str, Any]]]:
    """Returns each platform's name and what it says, {"cluster": ..., "task": ...}, in order of precedence.

    Raises:
      config.ConfigError: a platform's variables cannot be read.
    """
    found = []
    for marks, name, read in _PLATFORMS:
        if all(environ.get(mark, "").strip() for mark in marks):
            found.append((name, read(environ)))
    return found


def check_agreement(clusters: Sequence[Any]) -> None:
    """Raises ConfigError where sources name other hosts, or this process another place among them; ports may differ.

    Args:
      clusters: topology.Cluster of each source.
    """
    first = clusters[0]
    for other in clusters[1:]:
        if _hosts(first) != _hosts(other) or first.index != other.index:
            raise config.ConfigError(
                f"{first.source} says worker {first.index} of {', '.join(first.workers)}, {other.source} says worker "
                f"{other.index} of {', '.join(other.workers)}; unset the one that is wrong, or give --tf_config=FILE."
            )


def _hosts(cluster):
    return [address.rpartition(":")[0] for address in cluster.workers]


def _sagemaker(environ):
    hosts, me = _json(environ, "SM_HOSTS"), environ["SM_CURRENT_HOST"]
    if not (isinstance(hosts, list) and hosts and all(isinstance(host, str) for host in hosts)):
        raise config.ConfigError(f'SM_HOSTS={environ["SM_HOSTS"]} must be a list such as ["algo-1","algo-2"].')
    if me not in hosts:
        raise config.ConfigError(f"SM_CURRENT_HOST={me} is not one of SM_HOSTS={environ['SM_HOSTS']}.")
    return _workers([f"{host}:{PORT}" for host in hosts], hosts.index(me))


def _vertex(environ):
    spec = _json(environ, "CLUSTER_SPEC")
    cluster, task = (spec.get(name) if isinstance(spec, dict) else None for name in ("cluster", "task"))
    if not isinstance(cluster, dict) or not isinstance(task, dict):
        raise config.ConfigError(f'CLUSTER_SPEC={environ["CLUSTER_SPEC"]} must hold "cluster" and "task".')
    pools = {_VERTEX_POOLS.get(name, name): addresses for name, addresses in cluster.items()}
    pool = _VERTEX_POOLS.get(task.get("type"), task.get("type"))
    training = {name: addresses for name, addresses in pools.items() if name in ("chief", "worker")}
    return {"cluster": training, "task": {"type": pool, "index": task.get("index")}}


def _slurm(environ):
    number, count = _number(environ, "SLURM_PROCID"), _number(environ, "SLURM_STEP_NUM_TASKS")
    nodes = expand_nodes(environ["SLURM_STEP_NODELIST"])
    counts = _tasks_per_node(environ.get("SLURM_STEP_TASKS_PER_NODE", ""), len(nodes))
    places = [(node, local) for node, tasks in zip(nodes, counts, strict=True) for local in range(tasks)]
    if len(places) != count or number >= count:
        raise config.ConfigError(
            f"SLURM_PROCID={number} of SLURM_STEP_NUM_TASKS={count} does not fit "
            f"SLURM_STEP_TASKS_PER_NODE={environ.get('SLURM_STEP_TASKS_PER_NODE')} on {len(nodes)} nodes."
        )
    if environ.get("SLURM_LOCALID", "").strip() and _number(environ, "SLURM_LOCALID") != places[number][1]:
        raise config.ConfigError(
            f"SLURM_LOCALID={environ['SLURM_LOCALID']} of SLURM_PROCID={number}: tasks must fill one node after the "
            "other; start them with srun --distribution=block."
        )
    return _workers([f"{node}:{PORT + local}" for node, local in places], number)


def expand_nodes(text: str) -> list[str]:
    """Returns the nodes of Slurm's list, such as n[09-10,12],m3, in its order.

    Raises:
      config.ConfigError: it is not one.
    """
    parts = re.findall(r"(?:[^,\[\]]|\[[^\[\]]*\])+", text.strip())
    if not parts or ",".join(parts) != text.strip():
        raise config.ConfigError(f"SLURM_STEP_NODELIST={text} is not a list of nodes such as n[1-3],m7.")
    return [node for part in parts for node in _expand(part, text)]


def _expand(part, text):
    before, bracket, rest = part.partition("[")
    if not bracket:
        return [part]
    inside, _, after = rest.partition("]")
    names = []
    for item in inside.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", item)
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not low <= high <= low + 100_000:
            raise config.ConfigError(f"SLURM_STEP_NODELIST={text}: [{inside}] is not a list of numbers and ranges.")
        names += [f"{number:0{len(match[1])}d}" for number in range(low, high + 1)]
    return [before + name + end for name in names for end in _expand(after, text)]


def _tasks_per_node(text, num_nodes):
    """Returns the tasks of each node from Slurm's 2(x3),1."""
    matches = [_TASKS.fullmatch(item) for item in text.split(",")] if text.strip() else []
    if not all(matches):
        raise config.ConfigError(f"SLURM_STEP_TASKS_PER_NODE={text} must look like 2(x3),1.")
    counts = [int(match[1]) for match in matches for _ in range(min(int(match[2] or 1), num_nodes + 1))]
    if len(counts) != num_nodes:
        raise config.ConfigError(f"SLURM_STEP_TASKS_PER_NODE={text} is not of the {num_nodes} nodes of the step.")
    return counts


def _kubernetes(environ):
    missing = [name for name in ("JOB_NAME", "JOB_SERVICE", "JOB_PARALLELISM") if not environ.get(name, "").strip()]
    if missing:
        raise config.ConfigError(
            f"JOB_COMPLETION_INDEX is set but {' and '.join(missing)} not; an Indexed Job must tell its pods its name, "
            "its headless service and its parallelism."
        )
    number, count = _number(environ, "JOB_COMPLETION_INDEX"), _number(environ, "JOB_PARALLELISM")
    if number >= count:
        raise config.ConfigError(f"JOB_COMPLETION_INDEX={number} must be below JOB_PARALLELISM={count}.")
    names = [f"{environ['JOB_NAME']}-{i}.{environ['JOB_SERVICE']}:{PORT}" for i in range(count)]
    return _workers(names, number)


def _workers(addresses, index):
    return {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}


def _json(environ, name):
    try:
        return json.loads(environ[name])
    except (ValueError, RecursionError):
        raise config.ConfigError(f"{name}={environ[name]} is not JSON.") from None


def _number(environ, name):
    text = environ[name].strip()
    if not (text.isascii() and text.isdigit() and len(text) < 7):
        raise config.ConfigError(f"{name}={text} must be a whole number.")
    return int(text)


_PLATFORMS: tuple[tuple[tuple[str, ...], str, Callable[[Mapping[str, str]], dict[str, Any]]], ...] = (
    (("SM_HOSTS", "SM_CURRENT_HOST"), "SM_HOSTS of SageMaker", _sagemaker),
    (("CLUSTER_SPEC",), "CLUSTER_SPEC of Vertex AI", _vertex),
    (("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_NODELIST"), "srun of Slurm", _slurm),
    (("JOB_COMPLETION_INDEX",), "JOB_COMPLETION_INDEX of a Kubernetes Indexed Job", _kubernetes),
)

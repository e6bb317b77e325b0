"""Checks a cluster and a task in the form of TF_CONFIG; each mistake is one line. Pure Python."""

import collections
import dataclasses
import ipaddress
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from dqn_tf.config import schema

SHAPE = '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
_CANONICAL = {"chief": "chief", "master": "chief", "worker": "worker", "ps": "ps", "evaluator": "evaluator"}
_TRAINING = ("chief", "worker")  # in the order of Topology.workers
_KINDS = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}
_ADDRESS = re.compile(r"([A-Za-z0-9_][A-Za-z0-9._-]*|\[([0-9A-Fa-f:.]+)\]):([1-9][0-9]{0,4})")


@dataclasses.dataclass(frozen=True)
class Task:
    """Which task this process is, not yet checked; `origin` says who claims so, for messages."""

    type: Any
    index: Any
    origin: str


def parse(text: str, where: str) -> dict[str, Any]:
    """Returns the object of a JSON text; `where` is its origin, for messages. Raises ConfigError."""
    try:
        spec = json.loads(text)
    except json.JSONDecodeError as error:
        reason = f"{schema.one_line(error.msg)} at line {error.lineno} column {error.colno}"
    except ValueError:
        reason = "a number has too many digits"  # Python reads integers of up to 4300
    except RecursionError:
        reason = "it is nested too deep"
    else:
        if isinstance(spec, dict):
            return spec
        reason = f"it is {_kind(spec)}, not an object"
    raise schema.ConfigError(f"{where} cannot be used ({reason}): {show(text)}; it must look like {SHAPE}.")


def training_tasks(spec: Mapping[str, Any], where: str) -> tuple[dict[str, list[str]], list[str]]:
    """Returns the addresses of chief and workers, and the problems found; ps and evaluator are left out."""
    tasks, problems = {"chief": [], "worker": []}, []
    cluster = spec.get("cluster")
    if not isinstance(cluster, dict):
        return tasks, [f'{where} has no "cluster" object; it must look like {SHAPE}.']
    for name in cluster:
        if name not in _CANONICAL:
            problems.append(f"{where} has the task type {show(name)}; allowed are chief, worker, ps and evaluator.")
    if "chief" in cluster and "master" in cluster:
        problems.append(f"{where} has both a chief and a master, its older name; keep the chief.")
    for name, addresses in cluster.items():
        role = _CANONICAL.get(name)
        if role in _TRAINING:
            tasks[role], found = _addresses(addresses, name, where)
            problems += found
    if len(tasks["chief"]) > 1:
        problems.append(f"{where} has {len(tasks['chief'])} chiefs; a cluster has one at most, the others are workers.")
    if not problems and not any(tasks.values()):
        problems.append(f"{where} has neither a chief nor a worker; it must look like {SHAPE}.")
    return tasks, problems + _duplicates(tasks, where)


def _addresses(addresses, name, where):
    """Returns the well-formed addresses of one task type and the problems of the others."""
    if isinstance(addresses, dict):
        return [], [
            f"{where} gives {name} as an object, a sparse cluster (Kubeflow: enableDynamicWorker); "
            'training needs the whole list ["host:port", ...], so turn that off.'
        ]
    if not isinstance(addresses, list):
        return [], [f'{where} gives {name} as {_kind(addresses)}; it must be a list ["host:port", ...].']
    problems = [
        f"{where} gives {name}/{i} the address {show(address)}; it must be host:port, the port from 1 to 65535, "
        "without scheme or spaces."
        for i, address in enumerate(addresses)
        if not _is_address(address)
    ]
    return [address for address in addresses if _is_address(address)], problems


def _is_address(address):
    match = _ADDRESS.fullmatch(address) if isinstance(address, str) else None
    if match is None or int(match[3]) > 65535:
        return False
    try:
        return match[2] is None or bool(ipaddress.IPv6Address(match[2]))
    except ValueError:
        return False


def _duplicates(tasks, where):
    # Host names know no case.
    counts = collections.Counter(address.lower() for role in _TRAINING for address in tasks[role])
    return [
        f"{where} has the address {show(address)} {count} times; every task needs its own."
        for address, count in counts.items()
        if count > 1
    ]


def task_problems(task: Task, tasks: Mapping[str, Sequence[str]] | None) -> list[str]:
    """Returns what is wrong with `task`; `tasks` is None if the cluster itself is wrong."""
    role, index = canonical(task.type), index_of(task.index)
    if role is None:
        allowed = "chief, worker and evaluator"
        return [f"{task.origin} gives this process the task type {show(task.type)}; allowed are {allowed}."]
    if role == "ps":
        return [
            f"{task.origin} gives this process the task type ps, which is not part of the training cluster; "
            "start train.py only on chief, worker and evaluator tasks."
        ]
    if role == "evaluator":
        if task.index is None or index == 0:
            return []
        return [f"{task.origin} names task evaluator/{show(task.index)}; a run has one evaluator, evaluator/0."]
    if task.index is None:
        remedy = 'its "task" needs an "index"' if task.origin == "TF_CONFIG" else "give --task_index=N"
        return [f"{task.origin} does not say which {role} this process is; {remedy}."]
    if index is None:
        return [f"{task.origin} gives the task index {show(task.index)}; it must be a whole number from 0."]
    if tasks is not None and not 0 <= index < len(tasks[role]):
        return [f"{task.origin} names task {role}/{show(index)} but the cluster has {_span(tasks)}."]
    return []


def _span(tasks):
    """Returns the tasks in words, such as "chief 0 and workers 0-2"."""
    counts = [(role, len(tasks[role])) for role in _TRAINING if tasks[role]]
    return " and ".join(f"{role} 0" if count == 1 else f"{role}s 0-{count - 1}" for role, count in counts)


def canonical(task_type: Any) -> str | None:
    """Returns the present name of a task type, None if it is no task type."""
    return _CANONICAL.get(task_type) if isinstance(task_type, str) else None


def index_of(value: Any) -> int | None:
    """Returns a task index given as a number or as digits, or None."""
    if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def show(value: Any, quote: str = '"') -> str:
    """Returns a value for a message: on one line, with about 60 characters at most."""
    if isinstance(value, str):
        text = schema.one_line(value[:61])
        return f"{quote}{text}{quote}" if len(text) <= 60 else f"{quote}{text[:57]}...{quote}"
    if isinstance(value, (dict, list)):
        return _kind(value)  # not the contents, which may be nested too deeply to print
    if isinstance(value, int) and value.bit_length() > 128:
        return f"a number of {value.bit_length()} bits"
    return json.dumps(value)


def _kind(value):
    return _KINDS.get(type(value), "a number")

"""Where this process runs: environment variables or a cluster file become one checked Cluster.

Pure Python: a mistake in TF_CONFIG is answered before TensorFlow, which would answer it by waiting for peers,
is started. What the platforms set is in tf_config/README.md.
"""

import collections
import dataclasses
import ipaddress
import json
import re
from collections.abc import Mapping
from typing import Any

from dqn_tf import config
from dqn_tf.cluster import platforms

_SHAPE = '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
_CANONICAL = {"chief": "chief", "master": "chief", "worker": "worker", "ps": "ps", "evaluator": "evaluator"}
_TRAINING = ("chief", "worker")  # in the order of Cluster.workers
_KINDS = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}
_ADDRESS = re.compile(r"([A-Za-z0-9_][A-Za-z0-9._-]*|\[([0-9A-Fa-f:.]+)\]):([1-9][0-9]{0,4})")


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The processes that train together, and which of them this one is.

    Attributes:
      workers: "host:port" of every training process: the chief first, then the workers in order.
      index: this process among them; 0 is the chief.
      has_chief: worker 0 is named task type "chief"; if not, it is task worker/0.
      source: where the cluster was read, for the log.
    """

    workers: tuple[str, ...]
    index: int
    has_chief: bool
    source: str

    @property
    def is_chief(self) -> bool:
        return self.index == 0

    @property
    def num_workers(self) -> int:
        return len(self.workers)

    def tf_config(self) -> str:
        """Returns this process's TF_CONFIG as TensorFlow wants it: chief and worker only, no ps, no evaluator."""
        chiefs, workers = list(self.workers[: self.has_chief]), list(self.workers[self.has_chief :])
        tasks = [("chief", 0)] * self.has_chief + [("worker", i) for i in range(len(workers))]
        cluster = {name: addresses for name, addresses in (("chief", chiefs), ("worker", workers)) if addresses}
        task_type, index = tasks[self.index]
        return json.dumps({"cluster": cluster, "task": {"type": task_type, "index": index}})


@dataclasses.dataclass(frozen=True)
class _Task:
    """A claim, not yet checked, which task this process is; `origin` is what made it, for messages."""

    type: Any
    index: Any
    origin: str


def resolve(
    environ: Mapping[str, str], *, path: str = "", task_type: str = "", task_index: int | None = None
) -> Cluster | None:
    """Returns the cluster this process belongs to, or None where none is named.

    The file at `path` wins over TF_CONFIG, and that over what platforms.py knows; these two must agree. A file is the
    same for every process, so the task comes from the arguments or from TASK_TYPE and TASK_INDEX, each argument over
    its variable; only where none of the four is given, from the file's own "task". Without `path` the arguments may
    only repeat what TF_CONFIG says.

    Args:
      environ: environment variables.
      path: cluster file, --tf_config; empty for none.
      task_type: "chief" or "worker", --task_type; empty for not given.
      task_index: index among the tasks of that type, --task_index; None for not given.
    Raises:
      config.ConfigError: with every mistake found, each one line.
    """
    if path:
        return _from_file(path, environ, task_type, task_index)
    given = _given((("--task_type", task_type), ("--task_index", task_index)))
    text = environ.get("TF_CONFIG", "")
    found = platforms.find(environ)
    told = [_build(spec, name, _Task(**spec["task"], origin=name), [], source=name) for name, spec in found]
    if text.strip():
        told.insert(0, _from_environment(text, given, task_type, task_index))
    if told:
        platforms.check_agreement(told)
        return told[0]
    if given:
        raise config.ConfigError(
            f"{given} names a task but there is no cluster; give --tf_config=FILE or set TF_CONFIG."
        )
    return None


def _from_file(path, environ, task_type, task_index):
    where = f"--tf_config={_escape(path)}"
    spec = _parse(_read(path, where), where)
    type_setting = ("--task_type", task_type) if task_type else ("TASK_TYPE", environ.get("TASK_TYPE", "").strip())
    index_setting = ("TASK_INDEX", environ.get("TASK_INDEX", "").strip())
    if task_index is not None:
        index_setting = ("--task_index", task_index)
    given = _given((type_setting, index_setting))
    if given:
        index = None if index_setting[1] == "" else index_setting[1]
        task = _Task(type_setting[1] or "worker", index, given)
    elif isinstance(spec.get("task"), dict):
        task = _Task(spec["task"].get("type", "worker"), spec["task"].get("index"), where)
    else:
        task = _Task("worker", None, where)
    return _build(spec, where, task, [], source=where)


def _from_environment(text, given, task_type, task_index):
    where, problems = "TF_CONFIG", []
    spec = _parse(text, where)
    named = spec.get("task")
    if not isinstance(named, dict):
        problems.append(f'{where} has no "task" object; it must look like {_SHAPE}.')
        return _build(spec, where, None, problems, source="")
    task = _Task(named.get("type"), named.get("index"), where)
    types_agree = not task_type or _canonical(task_type) == _canonical(task.type)
    if not types_agree or task_index not in (None, _index(task.index)):
        problems.append(
            f"{given} contradicts TF_CONFIG, which names task {_show(task.type)}, index {_show(task.index)}; "
            "leave the flags out, or give --tf_config=FILE."
        )
    return _build(spec, where, task, problems, source="TF_CONFIG in the environment")


def _build(spec, where, task, problems, source):
    """Returns the Cluster of `spec`, or raises `problems` with all those found here."""
    tasks, found = _training_tasks(spec, where)
    problems += found
    if task is not None:
        problems += _task_problems(task, None if found else tasks)
    if problems:
        raise config.ConfigError(*problems)
    has_chief, index = bool(tasks["chief"]), _index(task.index)
    if _canonical(task.type) == "worker":
        index += has_chief
    return Cluster(tuple(tasks["chief"] + tasks["worker"]), index, has_chief, source)


def _read(path, where):
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise config.ConfigError(f"{where} is not UTF-8 text; it must be JSON like {_SHAPE}.") from None
    except (OSError, ValueError) as error:  # ValueError: a path no file can have
        reason = _escape(getattr(error, "strerror", None) or str(error))
        raise config.ConfigError(f"{where} cannot be read ({reason}); give the path of a cluster file.") from None


def _parse(text, where):
    try:
        spec = json.loads(text)
    except json.JSONDecodeError as error:
        reason = f"{_escape(error.msg)} at line {error.lineno} column {error.colno}"
    except ValueError:
        reason = "a number has too many digits"  # Python reads integers of up to 4300
    except RecursionError:
        reason = "it is nested too deep"
    else:
        if isinstance(spec, dict):
            return spec
        reason = f"it is {_kind(spec)}, not an object"
    raise config.ConfigError(f"{where} cannot be used ({reason}): {_show(text)}; it must look like {_SHAPE}.")


def _training_tasks(spec, where):
    """Returns the addresses of the chief and the workers, without ps and evaluator, and the problems found."""
    tasks, problems = {"chief": [], "worker": []}, []
    cluster = spec.get("cluster")
    if not isinstance(cluster, dict):
        return tasks, [f'{where} has no "cluster" object; it must look like {_SHAPE}.']
    for name in cluster:
        if name not in _CANONICAL:
            problems.append(f"{where} has the task type {_show(name)}; allowed are chief, worker, ps and evaluator.")
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
        problems.append(f"{where} has neither a chief nor a worker; it must look like {_SHAPE}.")
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
        f"{where} gives {name}/{i} the address {_show(address)}; it must be host:port, the port from 1 to 65535, "
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
        f"{where} has the address {_show(address)} {count} times; every task needs its own."
        for address, count in counts.items()
        if count > 1
    ]


def _task_problems(task, tasks):
    """Returns what is wrong with `task`; `tasks` is None where the cluster itself is wrong."""
    role, index = _canonical(task.type), _index(task.index)
    if role is None:
        return [f"{task.origin} gives this process the task type {_show(task.type)}; allowed are chief and worker."]
    if role not in _TRAINING:
        return [
            f"{task.origin} gives this process the task type {role}, which is not part of the training cluster; "
            "start train.py only on chief and worker tasks."
        ]
    if task.index is None:
        remedy = 'its "task" needs an "index"' if task.origin == "TF_CONFIG" else "give --task_index=N"
        return [f"{task.origin} does not say which {role} this process is; {remedy}."]
    if index is None:
        return [f"{task.origin} gives the task index {_show(task.index)}; it must be a whole number from 0."]
    if tasks is not None and not 0 <= index < len(tasks[role]):
        return [f"{task.origin} names task {role}/{_show(index)} but the cluster has {_span(tasks)}."]
    return []


def _span(tasks):
    """Returns in words which tasks there are, such as "chief 0 and workers 0-2"."""
    counts = [(role, len(tasks[role])) for role in _TRAINING if tasks[role]]
    return " and ".join(f"{role} 0" if count == 1 else f"{role}s 0-{count - 1}" for role, count in counts)


def _canonical(task_type):
    return _CANONICAL.get(task_type) if isinstance(task_type, str) else None


def _index(value):
    """Returns a task index given as a number or as digits, or None."""
    if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _given(settings):
    """Returns those of the (name, value) `settings` that have a value, as they would be typed."""
    return " ".join(f"{name}={_show(value, quote='')}" for name, value in settings if value not in ("", None))


def _show(value, quote='"'):
    """Returns a given value for a message: on one line, some 60 characters at most."""
    if isinstance(value, str):
        text = _escape(value[:61])
        return f"{quote}{text}{quote}" if len(text) <= 60 else f"{quote}{text[:57]}...{quote}"
    if isinstance(value, (dict, list)):
        return _kind(value)  # not its contents: they may be nested deeper than Python can print
    if isinstance(value, int) and value.bit_length() > 128:
        return f"a number of {value.bit_length()} bits"
    return json.dumps(value)


def _kind(value):
    return _KINDS.get(type(value), "a number")


def _escape(text):
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)

"""Makes a checked Topology, the cluster of this process, from environment variables or a cluster file.

Pure Python: a mistake in TF_CONFIG is found before TensorFlow starts, which would wait for peers forever. What the
platforms set is in tf_config/README.md.
"""

import dataclasses
import json
from collections.abc import Mapping

from dqn_tf.cluster import platforms
from dqn_tf.cluster import tf_config as spec_lib
from dqn_tf.config import files, schema


@dataclasses.dataclass(frozen=True)
class Topology:
    """The processes that train together, and which of them this one is.

    Attributes:
      workers: "host:port" of every training process: the chief first, then the workers in order.
      index: index of this process in `workers`; 0 is the chief. None: it is the evaluator.
      has_chief: the first process has the task type "chief"; if not, it is task worker/0.
      source: where the cluster was read, for the log.
      has_evaluator: the cluster has an evaluator too.
    """

    workers: tuple[str, ...]
    index: int | None
    has_chief: bool
    source: str
    has_evaluator: bool = False

    @property
    def is_chief(self) -> bool:
        return self.index == 0

    @property
    def is_evaluator(self) -> bool:
        """Whether this process evaluates the checkpoints of the others instead of training."""
        return self.index is None

    @property
    def num_workers(self) -> int:
        return len(self.workers)

    @property
    def hosts(self) -> list[str]:
        """The host of every training process, IPv6 addresses in brackets."""
        return [address.rpartition(":")[0] for address in self.workers]

    def task(self, index: int) -> tuple[str, int]:
        """Returns TensorFlow's task type and index of a training process."""
        return ("chief", 0) if self.has_chief and index == 0 else ("worker", index - self.has_chief)

    def tf_config(self) -> str:
        """Returns this worker's TF_CONFIG as TensorFlow wants it: chief and worker only, no ps, no evaluator."""
        cluster: dict[str, list[str]] = {}
        for i, address in enumerate(self.workers):
            cluster.setdefault(self.task(i)[0], []).append(address)
        task_type, index = self.task(self.index)
        return json.dumps({"cluster": cluster, "task": {"type": task_type, "index": index}})


def resolve(
    environ: Mapping[str, str], *, path: str = "", task_type: str = "", task_index: int | None = None
) -> Topology | None:
    """Returns the cluster of this process, or None if there is none.

    The file at `path` comes first, then TF_CONFIG, then what platforms.py finds; the last two must agree. All processes
    read the same file, so the task comes from the arguments, or else from TASK_TYPE and TASK_INDEX. If none of these is
    given, it comes from "task" in the file. Without `path` the arguments may only repeat what TF_CONFIG says.

    Args:
      environ: environment variables.
      path: cluster file, --tf_config; empty for none.
      task_type: "chief", "worker" or "evaluator", --task_type; empty if not given. An evaluator needs no cluster.
      task_index: index among the tasks of that type, --task_index; None if not given.
    Raises:
      config.ConfigError: with all mistakes, one line each.
    """
    if path:
        return _from_file(path, environ, task_type, task_index)
    given = _given((("--task_type", task_type), ("--task_index", task_index)))
    text = environ.get("TF_CONFIG", "")
    if task_type == "evaluator" and not text.strip():
        return Topology((), None, False, given)
    found = platforms.find(environ)
    told = [_build(spec, name, spec_lib.Task(**spec["task"], origin=name), [], source=name) for name, spec in found]
    if text.strip():
        told.insert(0, _from_environment(text, given, task_type, task_index))
    if told:
        platforms.check_agreement(told)
        return dataclasses.replace(told[0], has_evaluator=any(one.has_evaluator for one in told))
    if given:
        raise schema.ConfigError(
            f"{given} names a task but there is no cluster; give --tf_config=FILE or set TF_CONFIG."
        )
    return None


def names_evaluator(environ: Mapping[str, str]) -> bool:
    """Returns whether a platform starts this process as its evaluator; variables that cannot be read are ignored."""
    for name, role in (("TF_CONFIG", "evaluator"), ("CLUSTER_SPEC", "workerpool3")):
        try:
            if json.loads(environ.get(name, ""))["task"]["type"] == role:
                return True
        except (ValueError, LookupError, TypeError, RecursionError):
            continue
    return False


def _from_file(path, environ, task_type, task_index):
    where = f"--tf_config={schema.one_line(path)}"
    spec = spec_lib.parse(_read(path, where), where)
    type_setting = ("--task_type", task_type) if task_type else ("TASK_TYPE", environ.get("TASK_TYPE", "").strip())
    index_setting = ("TASK_INDEX", environ.get("TASK_INDEX", "").strip())
    if task_index is not None:
        index_setting = ("--task_index", task_index)
    given = _given((type_setting, index_setting))
    if given:
        index = None if index_setting[1] == "" else index_setting[1]
        task = spec_lib.Task(type_setting[1] or "worker", index, given)
    elif isinstance(spec.get("task"), dict):
        task = spec_lib.Task(spec["task"].get("type", "worker"), spec["task"].get("index"), where)
    else:
        task = spec_lib.Task("worker", None, where)
    return _build(spec, where, task, [], source=where)


def _from_environment(text, given, task_type, task_index):
    where, problems = "TF_CONFIG", []
    spec = spec_lib.parse(text, where)
    named = spec.get("task")
    if not isinstance(named, dict):
        problems.append(f'{where} has no "task" object; it must look like {spec_lib.SHAPE}.')
        return _build(spec, where, None, problems, source="")
    task = spec_lib.Task(named.get("type"), named.get("index"), where)
    types_agree = not task_type or spec_lib.canonical(task_type) == spec_lib.canonical(task.type)
    if not types_agree or task_index not in (None, spec_lib.index_of(task.index)):
        problems.append(
            f"{given} contradicts TF_CONFIG, which names task {spec_lib.show(task.type)}, index "
            f"{spec_lib.show(task.index)}; leave the flags out, or give --tf_config=FILE."
        )
    return _build(spec, where, task, problems, source="TF_CONFIG in the environment")


def _build(spec, where, task, problems, source):
    """Returns the Topology of `spec`, or raises ConfigError with `problems` and those found here."""
    tasks, found = spec_lib.training_tasks(spec, where)
    problems += found
    if task is not None:
        problems += spec_lib.task_problems(task, None if found else tasks)
    if problems:
        raise schema.ConfigError(*problems)
    has_chief, index = bool(tasks["chief"]), spec_lib.index_of(task.index)
    if spec_lib.canonical(task.type) == "worker":
        index += has_chief
    if spec_lib.canonical(task.type) == "evaluator":
        index = None
    has_evaluator = bool(spec["cluster"].get("evaluator"))
    return Topology(tuple(tasks["chief"] + tasks["worker"]), index, has_chief, source, has_evaluator)


def _read(path, where):
    try:
        return files.read_text(path)
    except OSError as error:
        reason = schema.one_line(error.strerror)
        raise schema.ConfigError(f"{where} cannot be read ({reason}); give the path of a cluster file.") from None


def _given(settings):
    """Returns those of the (name, value) `settings` that have a value, as they would be typed."""
    return " ".join(f"{name}={spec_lib.show(value, quote='')}" for name, value in settings if value not in ("", None))

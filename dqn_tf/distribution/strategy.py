"""The tf.distribute strategy of this process: scope, placement of batches, the packed all-reduce.

The only file that says tf.distribute. The update it serves (gradients in replica context, one sum over all
replicas, everything after the sum in cross-replica context) is in `agent/update.py`.
"""

import contextlib
import dataclasses
import functools
import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from dqn_tf.cluster import topology
from dqn_tf.config.schema import ConfigError

_log = logging.getLogger(__name__)

_GATHER_ROWS = 128
_TEXT_COLUMNS = 256


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where this process computes, and how it joins the others.

    Attributes:
      strategy: the tf.distribute strategy; variables are created inside `scope()`.
      num_workers: processes of the run.
      worker_index: this process among them; 0 is the chief.
      replicas_per_worker: replicas in sync in each process.
    """

    strategy: tf.distribute.Strategy
    num_workers: int
    worker_index: int
    replicas_per_worker: int

    @property
    def is_chief(self) -> bool:
        return self.worker_index == 0

    @property
    def has_gpu(self) -> bool:
        """Whether this process computes on GPUs."""
        return bool(tf.config.list_physical_devices("GPU"))

    @property
    def gpus(self) -> list[str]:
        """Names of the GPUs of this worker's replicas, in their order; none if they compute on the CPU."""
        if not self.has_gpu:
            return []
        names = [f"GPU:{i}" for i in range(self.replicas_per_worker)]
        devices = list(self.strategy.extended.worker_devices) if self.num_replicas > 1 else names
        return devices if all("GPU" in device for device in devices) else []

    @property
    def num_replicas(self) -> int:
        return self.num_workers * self.replicas_per_worker

    def alone(self) -> "Placement":
        """Returns the placement of this worker as if it had no peers, with variables of the same strategy."""
        return dataclasses.replace(self, num_workers=1, worker_index=0)

    def scope(self) -> contextlib.AbstractContextManager:
        """Returns the context manager in which variables are created."""
        return self.strategy.scope()

    def split(self, batch: Any) -> Any:
        """Returns per-replica values of a worker's batch.

        Args:
          batch: nest of arrays [K, b, ...] of this worker.
        Returns:
          A nest of tensors [K, b / replicas_per_worker, ...] for each replica of this worker.
        """
        if self.replicas_per_worker == 1 and self.num_workers == 1:
            return tf.nest.map_structure(tf.convert_to_tensor, batch)

        def part(i):
            return tf.nest.map_structure(
                lambda array: tf.convert_to_tensor(np.split(array, self.replicas_per_worker, axis=1)[i]), batch
            )

        return self.each(part)

    def each(self, function: Callable[[int], Any]) -> Any:
        """Returns the per-replica values function(i) of this worker's replicas, of which i is the number."""

        def value(context):
            # Under MultiWorkerMirroredStrategy the replica id counts over all workers.
            return function(context.replica_id_in_sync_group % self.replicas_per_worker)

        return self.strategy.experimental_distribute_values_from_function(value)

    def local(self, value: Any) -> Any:
        """Returns the first of this worker's per-replica values."""
        return self.strategy.experimental_local_results(value)[0]

    def joined(self, value: Any) -> tf.Tensor:
        """Returns this worker's per-replica values [b, ...] as one, [sum of b, ...]."""
        parts = self.strategy.experimental_local_results(value)
        return parts[0] if len(parts) == 1 else tf.concat(parts, axis=0)

    def run(self, function: Callable, args: Sequence[Any]) -> Any:
        """Returns the per-replica results of `function`, called in replica context."""
        return self.strategy.run(function, args=args)

    def replica(self) -> tf.Tensor:
        """Returns the number of this replica among all of the run. Called in replica context."""
        return tf.distribute.get_replica_context().replica_id_in_sync_group

    def sum(self, packed: Any) -> tf.Tensor:
        """Returns the sum over all replicas of a <float32>[P] vector: one collective."""
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, packed, axis=None)

    def update(self, variable: Any, function: Callable, args: Sequence[Any]) -> None:
        """Calls `function(variable, *args)` on the device of each copy of `variable`, in cross-replica context.

        Args:
          args: tensors, and variables of the same kind, which are given as their copies on that device.
        """
        self.strategy.extended.update(variable, function, args=args)

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Returns the rows <float64>[M, C] of all workers, [sum of M, C], in order of worker. All must call it.

        By sums of blocks of one size: strategy.gather traces a function anew for every number of rows.
        """
        if self.num_workers == 1:
            return rows
        counts = self._all(np.array([[len(rows)]], np.float64))[:, 0, 0].astype(int)  # [W]
        num_blocks = -(-int(counts.max()) // _GATHER_ROWS)
        mine = np.zeros([num_blocks, _GATHER_ROWS, rows.shape[1]])
        mine.reshape(-1, rows.shape[1])[: len(rows)] = rows
        blocks = [self._all(block) for block in mine]  # each [W, rows, C]
        if not blocks:
            return rows
        everyone = np.concatenate(blocks, axis=1)
        return np.concatenate([part[:count] for part, count in zip(everyone, counts, strict=True)])

    def exchange(self, text: str) -> list[str]:
        """Returns the texts of all workers, in order of worker. All must call it."""
        if self.num_workers == 1:
            return [text]
        mine = np.frombuffer(os.fsencode(text), np.uint8)  # a path in it may have other bytes than those of UTF-8
        rows = np.zeros([-(-len(mine) // _TEXT_COLUMNS), _TEXT_COLUMNS])
        rows.reshape(-1)[: len(mine)] = mine
        sizes = self.gather(np.array([[len(mine), len(rows)]], np.float64)).astype(int)  # [W, (bytes, rows)]
        parts = np.split(self.gather(rows), np.cumsum(sizes[:-1, 1]))
        return [
            os.fsdecode(part.astype(np.uint8).reshape(-1)[:size].tobytes())
            for part, size in zip(parts, sizes[:, 0], strict=True)
        ]

    def max(self, value: float) -> float:
        """Returns the largest of the values of all workers. All must call it."""
        return float(self._all(np.array([[value]])).max()) if self.num_workers > 1 else value

    def _all(self, block):
        """Returns the blocks [M, C] of all workers as [W, M, C]."""
        slots = np.zeros([self.num_workers, *block.shape])
        slots[self.worker_index] = block

        def once(context):
            is_first = context.replica_id_in_sync_group % self.replicas_per_worker == 0
            return tf.convert_to_tensor(slots if is_first else np.zeros_like(slots))

        return self._sum_function(self.strategy.experimental_distribute_values_from_function(once)).numpy()

    @functools.cached_property
    def _sum_function(self):
        return tf.function(self.sum, autograph=False)

    def barrier(self) -> None:
        """Waits for all workers."""
        self.gather(np.zeros([1, 1]))


def free_memory(device: str) -> int | None:
    """Returns the bytes of a GPU that TensorFlow may still take; None if it does not tell."""
    from tensorflow.python.client import device_lib

    number = tf.DeviceSpec.from_string(device).device_index
    limits = [one.memory_limit for one in device_lib.list_local_devices() if one.device_type == "GPU"]
    if number is None or number >= len(limits):
        return None
    return limits[number] - tf.config.experimental.get_memory_info(f"GPU:{number}")["current"]


def create(
    name: str,
    num_replicas: int,
    cluster: topology.Topology | None,
    intra_op_threads: int = 0,
    inter_op_threads: int = 0,
) -> Placement:
    """Returns the Placement for --strategy=`name`.

    Called before any other use of TensorFlow; if it has been used, as in a notebook, its threads and devices stay as
    they are.

    Args:
      name: default, mirrored or multiworker.
      num_replicas: replicas of mirrored; 0 takes all GPUs, or 2 logical CPUs if there is none.
      cluster: the processes of multiworker, None for the other strategies.
      intra_op_threads: that share one operation; 0: TensorFlow's own choice.
      inter_op_threads: that run operations side by side; 0: TensorFlow's own choice.
    Raises:
      ConfigError: more replicas than GPUs, or than the logical CPUs of a TensorFlow that has been used.
    """
    gpus = tf.config.list_physical_devices("GPU")
    try:
        tf.config.threading.set_intra_op_parallelism_threads(intra_op_threads)
        tf.config.threading.set_inter_op_parallelism_threads(inter_op_threads)
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError:
        _log.info("threads: as TensorFlow has them, because it was used before")
    if name == "mirrored":
        return _mirrored(num_replicas, gpus)
    if name == "multiworker":
        return _multiworker(cluster)
    _log.info("strategy: one replica on %s, because --strategy=default", "GPU:0" if gpus else "the CPU")
    return Placement(tf.distribute.get_strategy(), 1, 0, 1)


def _mirrored(num_replicas, gpus):
    if num_replicas > len(gpus) > 0:
        raise ConfigError(f"--num_replicas={num_replicas} but {len(gpus)} GPUs are visible; use at most that many.")
    if gpus:
        count = num_replicas or len(gpus)
        devices, reason = [f"GPU:{i}" for i in range(count)], f"{len(gpus)} GPUs are visible"
    else:
        count = num_replicas or 2
        _make_logical_cpus(count)
        devices, reason = [f"CPU:{i}" for i in range(count)], "no GPU is visible: logical CPUs"
    _log.info("strategy: MirroredStrategy, %d replicas, because --strategy=mirrored and %s", count, reason)
    return Placement(tf.distribute.MirroredStrategy(devices), 1, 0, count)


def _make_logical_cpus(count):
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError:  # it was used before
        found = len(tf.config.list_logical_devices("CPU"))
        if found < count:
            raise ConfigError(
                f"--strategy=mirrored needs {count} logical CPUs, and TensorFlow was started with {found}; train with "
                "mirrored before anything else in this process, or use the command."
            ) from None


def _multiworker(cluster):
    spec = {"worker": list(cluster.workers)}
    task = ("worker", cluster.index)
    if cluster.has_chief:
        spec = {"chief": [cluster.workers[0]]}
        if cluster.num_workers > 1:
            spec["worker"] = list(cluster.workers[1:])
        task = ("chief", 0) if cluster.is_chief else ("worker", cluster.index - 1)
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec(spec), task_type=task[0], task_id=task[1], rpc_layer="grpc"
    )
    _log.info(
        "strategy: MultiWorkerMirroredStrategy, %s %d of %d workers, because --strategy=multiworker and %s",
        task[0],
        task[1],
        cluster.num_workers,
        cluster.source,
    )
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver)
    except RuntimeError as error:
        if "program startup" not in str(error):
            raise
        raise ConfigError(
            "--strategy=multiworker: TensorFlow connects to other processes at its start only, and was used before in "
            "this one; train before anything else, and give a function for the network, not a model."
        ) from None
    replicas = strategy.num_replicas_in_sync // cluster.num_workers
    return Placement(strategy, cluster.num_workers, cluster.index, replicas)

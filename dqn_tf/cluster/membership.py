"""Finds the cluster of a command's process by its flags and the platform's variables. Without TensorFlow."""

import contextlib
import logging
from collections.abc import Mapping

from dqn_tf.cluster import topology
from dqn_tf.config.schema import Cluster, Config, ConfigError

_log = logging.getLogger(__name__)


def find(config: Config, environ: Mapping[str, str]) -> topology.Topology | None:
    """Returns the cluster that a command joins, None if there is none or the command will start it.

    Raises:
      ConfigError: the cluster cannot be read, or contradicts --strategy.
    """
    settings = config.cluster
    cluster = None
    if (
        settings.strategy == "multiworker"
        or settings.tf_config
        or settings.task_type
        or settings.task_index is not None
        or topology.names_evaluator(environ)
    ):
        cluster = topology.resolve(
            environ, path=settings.tf_config, task_type=settings.task_type, task_index=settings.task_index
        )
    if settings.strategy != "multiworker":
        if cluster is not None and not cluster.is_evaluator:
            raise ConfigError(
                f"--strategy={settings.strategy} trains in one process, but a cluster is given; "
                "add --strategy=multiworker or leave out --tf_config, --task_type and --task_index."
            )
        if cluster is None:
            _warn_of_cluster(settings.strategy, environ)
    _warn_of_unused(settings, cluster)
    return cluster


def _warn_of_unused(settings, cluster):
    """Warns of --num_workers and --num_replicas that are not used."""
    defaults = Cluster()
    if cluster is not None and cluster.is_chief and cluster.num_workers != settings.num_workers:
        _log.warning(
            "cluster: workers: %d, because of %s; --num_workers=%d is dropped, which is for a cluster on this machine "
            "where nothing names one (tf_config/README.md)",
            cluster.num_workers,
            cluster.source,
            settings.num_workers,
        )
    if settings.strategy != "multiworker" and settings.num_workers != defaults.num_workers:
        _log.warning("--num_workers=%d is dropped, because --strategy=%s", settings.num_workers, settings.strategy)
    if settings.strategy != "mirrored" and settings.num_replicas != defaults.num_replicas:
        _log.warning("--num_replicas=%d is dropped, because --strategy=%s", settings.num_replicas, settings.strategy)


def _warn_of_cluster(strategy, environ):
    """Warns if the platform names a cluster that this process does not join."""
    if environ.get("TF_CONFIG", "").strip():
        _log.warning("TF_CONFIG is set but not read, because --strategy=%s", strategy)
        return
    with contextlib.suppress(ConfigError):
        found = topology.resolve(environ)
        if found and found.num_workers > 1:
            _log.warning(
                "%s names %d workers; each trains on its own, because --strategy=%s",
                found.source,
                found.num_workers,
                strategy,
            )

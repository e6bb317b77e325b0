"""What a command will do, settled and checked before TensorFlow is imported."""

import contextlib
import dataclasses
import logging
import types
from collections.abc import Mapping
from typing import Any

from dqn_tf.agent import architecture as architecture_lib
from dqn_tf.agent.architecture import Architecture
from dqn_tf.cluster import membership, proxies, topology
from dqn_tf.config import schema as config_lib
from dqn_tf.config import user_code
from dqn_tf.config.schema import Config, ConfigError
from dqn_tf.environment.factory import Factory
from dqn_tf.environment.spec import EnvironmentSpec
from dqn_tf.evaluation import followed_run
from dqn_tf.persistence import locations, run_directory
from dqn_tf.process import gpus, hardware
from dqn_tf.training import chosen, memory, threads

_log = logging.getLogger(__name__)

# A bucket that does not answer is tried again at the next period. TensorFlow's own patience, ten tries of up to half a
# minute in each of which all workers wait, is more than the time that a machine has which is taken away.
_BUCKET_VARIABLES = {
    "GCS_RETRY_CONFIG_MAX_RETRIES": "3",
    "GCS_RETRY_CONFIG_MAX_DELAY_TIME_US": "1000000",
    "GCS_REQUEST_CONNECTION_TIMEOUT_SECS": "10",
}


@dataclasses.dataclass(frozen=True)
class Plan:
    """One process's part of a run.

    Attributes:
      architecture: of the Q-network.
      cluster: the processes this one trains with; None if it trains alone or has yet to start them.
      is_evaluator: this process evaluates the checkpoints of a run that others train.
      locations: where the run is kept; `directory` is where it is written.
      started: time.time() when the command was given.
      typed: values of the flags that were given, by name.
      has_gpu: this machine has a GPU that may be used.
    """

    config: Config
    spec: EnvironmentSpec | None  # an evaluator's, and the next: None before there is the run
    architecture: Architecture | None
    cluster: topology.Topology | None
    is_evaluator: bool
    locations: locations.Locations
    directory: run_directory.RunDirectory
    started: float
    typed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    has_gpu: bool = False

    @property
    def needs_launcher(self) -> bool:
        """Whether this process starts a local cluster instead of training itself."""
        return self.config.cluster.strategy == "multiworker" and self.cluster is None and not self.is_evaluator

    @property
    def num_workers(self) -> int:
        if self.config.cluster.strategy != "multiworker":
            return 1
        return self.cluster.num_workers if self.cluster else self.config.cluster.num_workers

    @property
    def num_local_workers(self) -> int:
        """How many of the workers run on this machine."""
        if self.cluster is None:
            return self.num_workers
        return self.cluster.hosts.count(self.cluster.hosts[self.cluster.index])

    @property
    def is_chief(self) -> bool:
        return not self.is_evaluator and (self.cluster is None or self.cluster.is_chief)

    @property
    def is_followed(self) -> bool:
        """Whether an evaluator task evaluates the run and chooses its best model, not the chief."""
        asked = self.config.cluster.evaluated_by
        is_named = self.cluster is not None and self.cluster.has_evaluator
        return asked == "evaluator" or asked == "auto" and is_named

    @property
    def is_finished(self) -> bool:
        """Whether an earlier command has finished what this one is to train; in a bucket, once that has been opened."""
        return self._is_said_to_be_finished and not self.directory.damage_of_results()

    @property
    def _is_said_to_be_finished(self):
        if self.is_evaluator:
            return False
        env_steps, goal = self.directory.finished_env_steps(), self.config.evaluation.stop_at_return
        is_good = env_steps and goal is not None and self.directory.finished_return() >= goal
        return is_good or env_steps >= self.config.training.train_env_steps

    @property
    def environments(self) -> Factory:
        """What makes the environments of this run."""
        return Factory.of(self.config, self.spec)

    @property
    def threads(self) -> threads.Threads:
        """How this process uses the cores it shares with its local peers."""
        has_peers = self.num_workers > 1
        return threads.choose(
            self.config.hardware,
            self.architecture,
            hardware.num_cores(),
            self.num_local_workers,
            has_peers,
            self.environments.is_atari,
            hardware.is_bounded(),
            self.has_gpu,
        )

    def variables(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Returns the environment variables to set before TensorFlow is imported; most only where they are not.

        TensorFlow leaves oneDNN off where the processor has no AVX-512: without it the gradients of convolutions take
        eight times as long.
        """
        variables = {"TF_ENABLE_ONEDNN_OPTS": "1"} if self.architecture and self.architecture.is_convolutional else {}
        variables |= _BUCKET_VARIABLES if self.locations.is_bucket else {}
        always = gpus.deterministic(environ) if self.config.hardware.deterministic else {}
        missing = {name: value for name, value in variables.items() if name not in environ}
        return missing | always | (proxies.around(self.cluster.hosts, environ) if self.cluster else {})

    def locked(self) -> contextlib.AbstractContextManager:
        """Returns a context in which this process alone writes its directory; only the chief writes a shared one."""
        return self.directory.acquired() if self.is_chief or self.locations.is_bucket else contextlib.nullcontext()

    def says_finished(self) -> bool:
        """Returns `is_finished`, and logs it."""
        if not self._is_said_to_be_finished:
            return False
        damage = self.directory.damage_of_results()
        if damage:
            _log.warning("%s: %s; its results are made again from the last checkpoint", self.directory.name, damage)
            return False
        _log.info("finished: %s holds all %d env steps", self.directory.name, self.directory.finished_env_steps())
        return True


def make(
    config: Config,
    problems: list[str],
    environ: Mapping[str, str],
    started: float,
    typed: Mapping[str, Any] = types.MappingProxyType({}),
) -> Plan:
    """Returns the Plan of a command.

    Args:
      problems: mistakes that were found on the command line.
      typed: values of the flags that were given there, by name; what else `config` has is no wish of the user's.
    Raises:
      ConfigError: with these and every other mistake that can be known without TensorFlow.
    """
    problems, has_gpu = list(problems), bool(gpus.visible_gpus(environ))

    def attempt(function, *args):
        try:
            return function(*args)
        except ConfigError as error:
            problems.extend(line for line in error.problems if line not in problems)

    environments = Factory.of(config)
    config = dataclasses.replace(config, atari=environments.resolved())
    num_problems = len(problems)
    cluster = attempt(membership.find, config, environ)
    problems_of_cluster = problems[num_problems:]
    del problems[num_problems:]
    is_evaluator = cluster is not None and cluster.is_evaluator
    spec = None if is_evaluator else attempt(environments.describe)
    architecture = spec and attempt(architecture_lib.choose, config.network.network, spec)
    is_image = architecture and (architecture.is_for_images or memory.are_images(spec))
    if is_image and config.network.normalize_observations:
        if "normalize_observations" in typed:
            problems.append("--normalize_observations is not for images, which have one scale; leave it out.")
        plain = dataclasses.replace(config.network, normalize_observations=False)
        config = dataclasses.replace(config, network=plain)
    if ":" in config.learning.loss:
        attempt(user_code.check, "loss", config.learning.loss)
    problems += problems_of_cluster
    where = attempt(locations.find, config.run, environ)
    if is_evaluator:
        cluster = None
        if where and where.is_default and not any(line.startswith("--logdir=") for line in problems):
            problems.append("the evaluator needs the --logdir of the run that it evaluates.")
    where = where or locations.Locations(run_directory.default_logdir(config.run.env))
    directory = _directory(where, "evaluator" if is_evaluator else str(cluster.index if cluster else 0))
    config = config if is_evaluator or problems else chosen.as_begun(config, typed, directory)
    plan = Plan(config, spec, architecture, cluster, is_evaluator, where, directory, started, typed, has_gpu)
    if not is_evaluator and (cluster is not None or not problems_of_cluster):
        indivisible = config_lib.check_division(config, plan.num_workers, _replicas_per_worker(plan, environ))
        mistaken = {line.split("=")[0] for line in problems}  # their values are not those given
        problems += [line for line in indivisible if line.split("=")[0] not in mistaken]
    if not is_evaluator:
        problems += _check_precision(config, has_gpu)
    elif not problems:
        followed = attempt(followed_run.find, directory, typed, config.cluster)
        if followed:
            plan = dataclasses.replace(
                plan, config=followed.config, spec=followed.spec, architecture=followed.architecture
            )
    if plan.is_followed and config.evaluation.stop_at_return is not None:
        goal = config.evaluation.stop_at_return
        problems.append(f"--stop_at_return={goal:g} needs the chief's evaluations: give --evaluated_by=chief too.")
    if plan.spec is not None:
        problems += _check_open_files(plan)
    if architecture is not None and not is_evaluator and (cluster is not None or not problems_of_cluster):
        workers = plan.num_workers, plan.num_local_workers
        problems += memory.check(config, spec, architecture, *workers, has_gpu)
    if plan.is_chief and not where.is_bucket and (config.run.logdir or not problems):
        attempt(_check_directory, plan, not problems)
    elif not where.is_bucket and not problems:
        attempt(directory.check_access)
    if is_evaluator and plan.spec is not None and not where.is_bucket:
        attempt(directory.check_environment, plan.spec)
    if problems:
        raise ConfigError(*problems)
    if plan.is_chief:
        chosen.tell(config, typed)
        try:
            locations.prepare(where)
        except ConfigError:
            directory.abandon()
            raise
    return plan


def _directory(where, task):
    if where.is_bucket:
        return run_directory.RunDirectory(run_directory.scratch(where.run, task), where.run)
    return run_directory.RunDirectory(where.run)


def _check_precision(config, has_gpu):
    precision = config.hardware.precision
    if precision == "tf32" and not has_gpu:
        return ["--precision=tf32: this machine has no GPU, and its processor has no TF32; leave it out."]
    if precision != "bfloat16" or has_gpu or hardware.has_bfloat16():
        return []
    return [
        "--precision=bfloat16: this machine's processor has no bfloat16 arithmetic (avx512_bf16, amx_bf16 or bf16), "
        "which would make training slower; use --precision=float32."
    ]


def _check_open_files(plan):
    """Returns the problem of more pipes to processes than may be open; about a dozen files are this one's own."""
    training, evaluation = plan.config.training, plan.config.evaluation
    needed, what = 16, "training"
    if plan.needs_launcher:
        needed, what = 16 + 3 * plan.num_workers, f"--num_workers={plan.num_workers}"
    elif training.vectorization == "async":
        num_envs = 0 if plan.is_evaluator else training.num_envs // plan.num_workers
        if plan.is_chief or plan.is_evaluator:
            num_envs += sum(min(count, 25) for count in (evaluation.eval_episodes, evaluation.final_eval_episodes))
        needed = 16 + 2 * num_envs
        what = f"--vectorization=async with {num_envs} environments, evaluation's among them,"
    if needed <= (allowed := hardware.max_open_files()):
        return []
    return [f"{what} needs about {needed} open files, and {allowed} are allowed (ulimit -n); raise that or use less."]


def _check_directory(plan, is_config_known):
    """Raises ConfigError if the directory cannot be written or, unless `is_config_known` is false, resumed in."""
    plan.directory.acquire()  # and kept: between two looks another command could come, and both be refused
    try:
        if is_config_known:
            plan.directory.check(plan.config)
            plan.directory.check_environment(plan.spec)
    except ConfigError:
        is_config_known = False
        raise
    finally:
        if not is_config_known:
            plan.directory.abandon()  # a refused command leaves nothing


def _replicas_per_worker(plan, environ):
    """Returns replicas of each process as far as can be known without TensorFlow, which is asked again later."""
    num_gpus = len(gpus.visible_gpus(environ))
    if plan.config.cluster.strategy == "mirrored":
        return plan.config.cluster.num_replicas or num_gpus or 2
    if plan.needs_launcher:
        return max(1, num_gpus // plan.num_workers)
    return max(1, num_gpus) if plan.cluster else 1

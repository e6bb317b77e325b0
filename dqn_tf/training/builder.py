"""Builds the parts of a run on this worker from its configuration; every automatic choice is logged."""

import dataclasses
import functools
import logging

import keras
import numpy as np

from dqn_tf.agent import architecture, networks, policies
from dqn_tf.agent.actor import Actor
from dqn_tf.agent.learner import Learner
from dqn_tf.config import seeding, settings
from dqn_tf.config.schema import Config
from dqn_tf.config.seeding import Stream
from dqn_tf.distribution.averaging import AveragingLearner
from dqn_tf.distribution.strategy import Placement
from dqn_tf.environment.spec import EnvironmentSpec
from dqn_tf.evaluation.evaluator import Evaluator, episode_limit
from dqn_tf.experience import frame_replay
from dqn_tf.experience.accumulator import Accumulator
from dqn_tf.experience.replay import Replay
from dqn_tf.persistence import identity
from dqn_tf.persistence.checkpoints import Checkpoints
from dqn_tf.persistence.progress import Progress
from dqn_tf.persistence.recovery import Restored
from dqn_tf.persistence.replay_segments import ReplaySegments
from dqn_tf.persistence.storage import Storage
from dqn_tf.persistence.versions import versions
from dqn_tf.process import hardware
from dqn_tf.training import memory
from dqn_tf.training.plan import Plan

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Networks:
    """Makes copies of one run's Q-network: same architecture, same initial weights."""

    config: Config
    kind: str
    spec: EnvironmentSpec

    @property
    def scale(self) -> float:
        """Returns what observations are multiplied by inside the model: images to [0, 1]."""
        is_bytes = self.spec.observation_dtype == np.uint8
        return 1.0 / max(float(np.max(self.spec.observation_space.high)), 1.0) if is_bytes else 1.0

    def build(self) -> keras.Model:
        """Returns a new network."""
        network = self.config.network
        return networks.build(
            self.kind,
            self.spec.observation_shape,
            self.spec.observation_dtype,
            self.spec.num_actions,
            observation_scale=self.scale,
            hidden_units=network.hidden_units,
            activation=network.activation,
            precision=self.config.hardware.precision,
            seed=self.config.run.seed,
        )

    def policy(self) -> policies.Policy:
        """Returns a greedy policy for this network, without weights yet."""
        return policies.create(self.kind, self.config.network.activation, self.scale, self.build)


@dataclasses.dataclass(frozen=True)
class Components:
    """The parts that meet in the training loop.

    Attributes:
      is_followed: an evaluator task evaluates the run; the same on all workers.
      kept: the model that is exported, the best by evaluation.
      restored: what the parts were restored from; None where the run begins.
    """

    spec: EnvironmentSpec
    placement: Placement
    learner: Learner
    actor: Actor
    accumulator: Accumulator
    replay: Replay | frame_replay.FrameReplay
    policy: policies.Policy
    evaluator: Evaluator | None  # the chief's
    is_followed: bool
    kept: keras.Model
    checkpoints: Checkpoints
    restored: Restored | None


def build(plan: Plan, placement: Placement, progress: Progress, storage: Storage) -> Components:
    """Returns this worker's parts, restored from the newest checkpoint where there is one; so is `progress`."""
    config, kind, spec = plan.config, plan.network_kind, plan.spec
    training, learning = config.training, config.learning
    make = Networks(config, kind, spec)
    if placement.is_chief:
        why = architecture.reason(config.network.network, spec.observation_shape, spec.observation_dtype)
        _log.info("network: %s, because %s", kind, why)
    total_updates = round(training.replay_ratio * (training.train_env_steps - training.learning_starts))
    learner = _learner(config, kind, placement, make.build, max(total_updates, 1))
    kept = make.build()
    seed, worker = config.run.seed, placement.worker_index
    generator = seeding.generator(seed, Stream.REPLAY, worker, 0)
    replay = memory.make_replay(config, spec, placement.num_workers, generator)
    shard = ReplaySegments(plan.directory.checkpoints, replay, worker, placement.num_workers)
    num_kept = config.evaluation.checkpoints_to_keep
    about = (settings.to_json(config), _machine(plan), spec.spaces())
    checkpoints = Checkpoints(
        plan.directory.checkpoints, placement, learner, kept, progress, shard, storage, num_kept, *about
    )
    restored = checkpoints.restore(training.replay_capacity)
    num_envs = training.num_envs // placement.num_workers
    numbers = range(worker * num_envs, (worker + 1) * num_envs)
    seeds = [functools.partial(seeding.integer, seed, Stream.ENVIRONMENT, number) for number in numbers]
    exploration = [seeding.generator(seed, Stream.EXPLORATION, number, 0) for number in numbers]
    if restored:
        _log_resume(plan, restored, placement, progress, learner, about)
        if restored.worker.sampling:
            replay.generator.bit_generator.state = restored.worker.sampling
        else:  # another number of workers: streams of its own
            fresh = seeding.generator(seed, Stream.REPLAY, worker, progress.env_steps)
            replay.generator.bit_generator.state = fresh.bit_generator.state
    return Components(
        spec=spec,
        placement=placement,
        learner=learner,
        actor=Actor(
            dataclasses.replace(plan.environments, num_threads=plan.threads.actor).make(
                num_envs, first_number=numbers.start
            ),
            make.policy(),
            spec.num_actions,
            seeds,
            exploration,
        ),
        accumulator=Accumulator(learning.n_step, learning.discount, learning.reward_clip),
        replay=replay,
        policy=make.policy(),
        evaluator=_evaluator(plan) if placement.is_chief else None,
        is_followed=bool(placement.max(float(placement.is_chief and plan.is_followed))),
        kept=kept,
        checkpoints=checkpoints,
        restored=restored,
    )


def _machine(plan):
    """Returns what the bits of a result depend on beside the settings."""
    return {**versions(), "processor": hardware.processor(), "threads": str(plan.threads.learner)}


def _log_resume(plan, restored, placement, progress, learner, about):
    if not placement.is_chief:
        return
    where = f"{plan.directory.name.rstrip('/')}/checkpoints/{restored.path.name}"
    _log.info("resume: %s at %d env steps, %d updates", where, progress.env_steps, learner.num_updates)
    if restored.num_workers != placement.num_workers:
        _log.info(
            "resume: from %d to %d workers; replay and environments are dealt out again, so the run is the same in "
            "meaning, not in its bits",
            restored.num_workers,
            placement.num_workers,
        )
    changes = identity.changes(restored.config, about[0]) + identity.changed(restored.versions, about[1])
    if changes:
        _log.info("resume: the result may be another than that of an uninterrupted run: %s", "; ".join(changes))


def _learner(config, kind, placement, build_network, total_updates):
    communication = config.communication
    common = (placement, build_network, config.learning, config.training.batch_size, total_updates)
    if communication.average_period and placement.num_workers > 1:
        learner = AveragingLearner(*common, _uses_xla(config, kind, placement.alone()), communication.average_period)
        how = f"weights are averaged every {communication.average_period} updates, because --average_period asks for it"
    else:
        learner = Learner(*common, _uses_xla(config, kind, placement), communication.wire_precision)
        how = f"gradients of {learner.network.count_params()} weights, {communication.wire_precision}, in every update"
    if placement.num_workers == 1 and (communication.average_period or communication.wire_precision != "float32"):
        _log.warning("--average_period and --wire_precision have no effect, because there is one worker")
    if learner.num_sent:
        _log.info("all-reduce: %d numbers; %s", learner.num_sent, how)
    return learner


def _evaluator(plan):
    evaluation = plan.config.evaluation
    longest = episode_limit(plan.config, plan.spec)
    return Evaluator(plan.environments, evaluation.eval_episodes, longest, evaluation.eval_epsilon)


def _uses_xla(config, kind, placement):
    asked = config.hardware.jit_compile
    if asked != "auto":
        _log.info("jit_compile: %s, because --jit_compile=%s", asked, asked)
        return asked == "true"
    if kind == "nature_cnn":
        reason = "convolutions on a GPU have kernels of their own, and compiling them was not measured"
        if not placement.has_gpu:
            reason = "XLA's convolutions on CPU are about 20 times slower"
        _log.info("jit_compile: false, because %s", reason)
        return False
    if placement.num_replicas > 1:
        _log.info(
            "jit_compile: false, because the all-reduce of %d replicas cannot be compiled", placement.num_replicas
        )
        return False
    _log.info("jit_compile: true, because a dense network on one replica gains threefold from XLA")
    return True

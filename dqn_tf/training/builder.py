"""Builds the parts of a run on this worker from its configuration; every automatic choice is logged."""

import dataclasses
import functools
import logging
import math
from collections.abc import Sequence

import keras
from gymnasium import spaces

from dqn_tf.agent import architecture, optimizers, policies
from dqn_tf.agent.actor import Actor
from dqn_tf.agent.architecture import Architecture
from dqn_tf.agent.learner import Learner
from dqn_tf.agent.q_network import QNetwork
from dqn_tf.agent.statistics import ObservationStatistics
from dqn_tf.config import seeding, settings, user_code
from dqn_tf.config.schema import Config
from dqn_tf.config.seeding import Stream
from dqn_tf.distribution import arithmetic
from dqn_tf.distribution.averaging import Averaging
from dqn_tf.distribution.reducer import GradientSum, Reducer
from dqn_tf.distribution.strategy import Placement
from dqn_tf.environment.spec import EnvironmentSpec
from dqn_tf.evaluation.evaluator import Evaluator, episode_limit
from dqn_tf.experience.accumulator import Accumulator, Transitions
from dqn_tf.experience.replay import Replay
from dqn_tf.persistence.checkpoints import Checkpoints
from dqn_tf.persistence.progress import Progress
from dqn_tf.persistence.replay_segments import ReplaySegments
from dqn_tf.persistence.storage import Storage
from dqn_tf.persistence.versions import versions
from dqn_tf.process import hardware
from dqn_tf.training import replay_memory
from dqn_tf.training.plan import Plan

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Components:
    """The parts that meet in the training loop.

    Attributes:
      is_followed: an evaluator task evaluates the run; the same on all workers.
      best_model: the best by evaluation, which is exported.
      numbers: of this worker's environments in the run.
      statistics: of observations, None if they are not normalized.
    """

    spec: EnvironmentSpec
    placement: Placement
    learner: Learner
    actor: Actor
    accumulator: Accumulator
    replay: Replay
    policy: policies.Policy
    evaluator: Evaluator | None  # the chief's
    is_followed: bool
    best_model: keras.Model
    checkpoints: Checkpoints
    numbers: Sequence[int]
    statistics: ObservationStatistics | None

    def keep(self, transitions: Transitions) -> None:
        """Counts the round that was acted, and remembers its transitions. All workers must call it."""
        self.actor.keep()
        self.replay.add(transitions)
        self.replay.keep_noted(self.actor.noted, self.accumulator.waiting)
        if self.statistics:
            self.statistics.add(transitions.s_tm1)


def build(plan: Plan, placement: Placement, progress: Progress, storage: Storage) -> Components:
    """Returns this worker's parts as a run begins with them; resuming.py brings them to where it was."""
    config, spec = plan.config, plan.spec
    training, learning = config.training, config.learning
    make = QNetwork(plan.architecture, spec, config)
    if placement.is_chief:
        why = architecture.reason(config.network.network, spec)
        _log.info("network: %s, because %s", plan.architecture.name, why)
    best_model = make.build()
    if plan.architecture.check:
        plan.architecture.check(best_model, spec, config)
    if placement.is_chief:
        _log_actions(spec)
    seed, worker = config.run.seed, placement.worker_index
    generator = seeding.generator(seed, Stream.REPLAY, worker, 0)
    replay = replay_memory.make(config, spec, placement, plan.num_local_workers, generator)
    learner = _learner(make, placement, getattr(replay, "observed", None))
    if ":" in config.learning.loss:  # before anything is collected
        learner.trace(replay.blank(training.updates_per_round, training.batch_size // placement.num_workers))
    segments = ReplaySegments(plan.directory.checkpoints, replay, worker, placement.num_workers)
    about = (settings.to_json(config), machine(plan), spec.spaces())
    checkpoints = Checkpoints(
        *(plan.directory.checkpoints, placement, learner, best_model, spec.num_actions, progress, segments, storage),
        *(config.evaluation.checkpoints_to_keep, *about),
    )
    num_envs = training.num_envs // placement.num_workers
    numbers = range(worker * num_envs, (worker + 1) * num_envs)
    seeds = [functools.partial(seeding.integer, seed, Stream.ENVIRONMENT, number) for number in numbers]
    exploration = [seeding.generator(seed, Stream.EXPLORATION, number, 0) for number in numbers]
    environments = plan.environments
    environment = environments.make(num_envs, first_number=numbers.start, num_threads=plan.threads.actor)
    return Components(
        spec=spec,
        placement=placement,
        learner=learner,
        actor=Actor(environment, make.policy(), spec.num_actions, seeds, exploration, replay.noted),
        accumulator=Accumulator(learning.n_step, learning.discount, learning.reward_clip),
        replay=replay,
        policy=make.policy(),
        evaluator=_evaluator(plan) if placement.is_chief else None,
        is_followed=bool(placement.max(float(placement.is_chief and plan.is_followed))),
        best_model=best_model,
        checkpoints=checkpoints,
        numbers=numbers,
        statistics=_statistics(config, placement, learner),
    )


def machine(plan: Plan) -> dict[str, str]:
    """Returns what the bits of a result depend on beside the settings."""
    threads = str(plan.threads.learner)
    return {**versions(), "processor": hardware.processor(), "threads": threads, "device": arithmetic.device()}


def _learner(make, placement, observed):
    config = make.config
    training, communication = config.training, config.communication
    average_period, wire_precision = communication.average_period, communication.wire_precision
    if placement.num_workers == 1 and (average_period or wire_precision != "float32"):
        _log.warning("--average_period and --wire_precision have no effect, because there is one worker")
    if average_period and placement.num_workers > 1:
        reducer: Reducer = Averaging(placement, average_period)
        how = f"weights are averaged every {average_period} updates, because --average_period asks for it"
    else:
        reducer = GradientSum(placement, wire_precision)
        how = f"gradients, {wire_precision}, in every update"
    mine = () if reducer.num_learners == 1 else (placement.worker_index,)  # learners draw numbers of their own
    learner = Learner(
        *(reducer, make.build, make.loss(), config.learning, training.batch_size, optimizers.decay_updates(config)),
        uses_xla(config, make.architecture, reducer.placement),
        functools.partial(seeding.integer, config.run.seed, Stream.NETWORK, *mine),
        observed,
    )
    if reducer.num_sent:
        _log.info("all-reduce: %d numbers for %d weights; %s", reducer.num_sent, learner.network.count_params(), how)
    return learner


def _statistics(config, placement, learner):
    if not config.network.normalize_observations:
        return None
    size = math.prod(learner.network.input_shape[1:])
    return ObservationStatistics(placement, [learner.network, learner.target], size)


def _log_actions(spec):
    if not isinstance(spec.action_space, spaces.Discrete):
        _log.info("actions: %d, the combinations of %s", spec.num_actions, user_code.line(spec.action_space))
    if spec.has_masks:
        _log.info("actions: only legal ones, because %s gives action masks", spec.env_id)


def _evaluator(plan):
    evaluation = plan.config.evaluation
    longest = episode_limit(plan.config, plan.spec)
    return Evaluator(plan.environments, evaluation.eval_episodes, longest, evaluation.eval_epsilon)


def uses_xla(config: Config, architecture: Architecture, placement: Placement) -> bool:
    """Returns whether XLA compiles the updates, and logs why."""
    asked = config.hardware.jit_compile
    if asked != "auto":
        _log.info("jit_compile: %s, because --jit_compile=%s", asked, asked)
        return asked == "true"
    if placement.gpus:
        _log.info("jit_compile: true, because a GPU waits for each operation that is not compiled")
        return True
    why_not = ""
    if config.network.noisy or config.network.head == "implicit_quantile":
        why_not = "XLA draws random numbers slowly: btr took 1.4 times as long by it"
    elif architecture.is_convolutional:
        why_not = "XLA's convolutions on CPU are about 20 times slower"
    elif not architecture.can_compile:
        why_not = "compiling --network of your own was not measured"
    elif placement.num_replicas > 1:
        why_not = f"the all-reduce of {placement.num_replicas} replicas cannot be compiled"
    if why_not:
        _log.info("jit_compile: false, because %s", why_not)
        return False
    _log.info("jit_compile: true, because a small network on one replica gains from XLA, a dense one threefold")
    return True

"""The end of a run: the best model is evaluated anew, exported and delivered, and then the run says it is finished.

Whatever ends it before that, the same command does it again, from the last checkpoint.
"""

import contextlib
from collections.abc import Mapping

import tensorflow as tf

from dqn_tf.cluster.guard import Heartbeat
from dqn_tf.config import seeding
from dqn_tf.config.seeding import Stream
from dqn_tf.evaluation import export
from dqn_tf.evaluation.evaluator import Evaluator
from dqn_tf.persistence import results
from dqn_tf.persistence.mirror import Unreachable
from dqn_tf.persistence.progress import Progress
from dqn_tf.persistence.storage import Storage
from dqn_tf.process import reasons
from dqn_tf.reporting.reporter import Reporter
from dqn_tf.training import selection
from dqn_tf.training.builder import Components
from dqn_tf.training.loop import NotSaved
from dqn_tf.training.plan import Plan


def finish(
    plan: Plan,
    parts: Components,
    progress: Progress,
    reporter: Reporter,
    storage: Storage,
    waits: Mapping[str, float],
    heartbeat: Heartbeat,
) -> dict:
    """Finishes a run that has been trained and saved, and returns its summary; the chief's.

    Args:
      waits: shares of the rounds that the actor and the learner waited.
    Raises:
      NotSaved: a place does not take the results, and will not without the user.
      Unreachable: it may take them later.
    """

    def check():
        heartbeat.heard_by_all("evaluating the best model")

    selection.settle(plan.config, parts, progress, reporter, storage, plan.directory, check)
    parts.evaluator.close()  # there may be an environment that can exist only once
    evaluation = plan.config.evaluation
    limits = parts.evaluator.max_episode_steps, evaluation.eval_epsilon
    parts.policy.load(parts.best_model.get_weights())
    seed = seeding.integer(plan.config.run.seed, Stream.FINAL_EVALUATION)
    with contextlib.closing(Evaluator(plan.environments, evaluation.final_eval_episodes, *limits)) as evaluator:
        returns = evaluator.evaluate(parts.policy, seed, check)
    heartbeat.heard_by_all("writing the results")
    try:
        storage.unfinish()
        export.export(parts.best_model, plan.spec, plan.directory.path / "model")
        summary = reporter.finish(
            progress,
            returns,
            parts.learner.num_updates,
            num_workers=parts.placement.num_workers,
            num_replicas=parts.placement.num_replicas,
            threshold=plan.spec.reward_threshold,
            waits=waits,
        )
        storage.finish({**summary, "files": results.describe(plan.directory.path)})
    except (OSError, tf.errors.OpError) as error:
        if isinstance(error, Unreachable) and not error.is_mistake:
            raise
        where = getattr(error, "filename", None) or plan.directory.path
        raise NotSaved(f"{where}: {reasons.reason(error)}") from None
    reporter.finished(summary)
    return summary

"""Which weights are the run's best: those of the evaluation with the highest mean return, the later of equal ones."""

from collections.abc import Callable

from dqn_tf.config import Config
from dqn_tf.training import seeding
from dqn_tf.training.builder import Components
from dqn_tf.training.progress import Progress
from dqn_tf.training.reporter import Reporter


def evaluate(
    config: Config, parts: Components, progress: Progress, reporter: Reporter, check: Callable[[], None]
) -> None:
    """Evaluates the learner's weights, and keeps them where none were better; the chief's.

    Args:
      check: called before every step; what it raises leaves the evaluation.
    """
    weights = parts.learner.weights()
    parts.policy.load(weights)
    seed = seeding.integer(config.run.seed, seeding.Stream.EVALUATION, progress.env_steps)
    returns = parts.evaluator.evaluate(parts.policy, seed, check)
    progress.evaluation_due = False
    mean = progress.last_return = float(returns.mean())
    progress.evaluated_env_steps = progress.env_steps
    threshold = parts.spec.reward_threshold
    if progress.threshold_env_steps is None and threshold is not None and mean >= threshold:
        progress.threshold_env_steps = progress.env_steps
        progress.threshold_seconds = reporter.wall_seconds()
    if progress.best_return is None or mean >= progress.best_return:
        progress.best_return = mean
        parts.kept.set_weights(weights)
    reporter.evaluated(progress, returns)

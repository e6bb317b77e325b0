"""What a sweep maximizes of a run."""

import statistics

from dqn_tf.benchmark.child import Result

METRICS = ("best", "last", "mean")


def score(result: Result, metric: str) -> float:
    """Returns the return of the best model, or of the last weights, or the mean of all evaluations."""
    if metric == "mean":
        return statistics.mean(value for _, value in result.curve)
    return result.best if metric == "best" else result.last

"""The reward curve: every episode, their running mean, the evaluations."""

import io
import pathlib
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dqn_tf.config.schema import Config

WINDOW = 100


class Curve(Figure):
    """A Figure that a notebook shows by itself."""

    def __init__(self, width: float, height: float):
        """Makes an empty one; sizes are in inches of 120 dots."""
        super().__init__(figsize=(width, height), dpi=120, layout="constrained")
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def title(config: Config) -> str:
    """Returns what is written above the curve."""
    return f"{config.run.env}, seed {config.run.seed}, {config.cluster.strategy}"


def save(figure: Figure, path: pathlib.Path) -> None:
    """Writes a figure into a PNG file."""
    path.unlink(missing_ok=True)  # a link would be followed
    figure.savefig(path)


def draw(rows: Sequence[dict], title: str, threshold: float | None = None) -> Figure:
    """Returns the reward curve of the rows of metrics.jsonl.

    Args:
      threshold: the return from which the environment counts as solved, drawn as a line.
    """
    figure = Curve(9, 5)
    axes = figure.add_subplot()
    steps, returns = _column(rows, "train/episode_return")
    if len(steps):
        axes.plot(steps, returns, ".", color="tab:blue", alpha=0.35, markersize=5, markeredgewidth=0, label="episode")
        mean_steps, means = running_mean(steps, returns)
        axes.plot(mean_steps, means, color="tab:blue", label=f"mean of {WINDOW} episodes")
    steps, returns = _column(rows, "eval/return_mean")
    if len(steps):
        axes.plot(steps, returns, "o-", color="tab:orange", markersize=4, label="greedy evaluation, mean")
    if threshold is not None:
        axes.axhline(threshold, color="tab:green", linestyle="--", linewidth=1, label=f"threshold {threshold:g}")
    axes.set(title=title, xlabel="env steps of all workers", ylabel="return")
    axes.grid(alpha=0.3)
    if axes.has_data():
        axes.legend(loc="best")
    return figure


def running_mean(steps: np.ndarray, returns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean of each 100 successive returns, at the step of the last; of all if there are fewer."""
    window = min(WINDOW, len(returns))
    sums = np.cumsum(np.concatenate([[0.0], returns]))
    return steps[window - 1 :], (sums[window:] - sums[:-window]) / window


def _column(rows, tag):
    points = [(row["env_steps"], row[tag]) for row in rows if row.get(tag) is not None]
    return np.array(points, float).reshape(-1, 2).T

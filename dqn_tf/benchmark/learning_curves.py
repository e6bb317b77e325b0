"""Learning curves of several settings in one environment: the mean over seeds, with its interval as a band."""

from collections.abc import Mapping, Sequence

import numpy as np

from dqn_tf.benchmark import aggregates
from dqn_tf.reporting.reward_curve import Curve

# Of Okabe & Ito: told apart by colour-blind readers, too. Lines of a colour that comes again are dashed.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLES = ("-", "--", ":", "-.")

_MANY = 5  # lines whose legend would hide them


def draw(
    title: str, curves: Mapping[str, Sequence[Sequence[tuple[int, float]]]], threshold: float | None = None
) -> Curve:
    """Returns a figure.

    Args:
      curves: by setting, for each seed the (env steps, mean return) of its evaluations.
      threshold: the return from which the environment counts as solved, drawn as a line.
    """
    figure = Curve(8 if len(curves) <= _MANY else 11, 4.5)
    axes = figure.add_subplot()
    for number, (name, seeds) in enumerate(curves.items()):
        colour, style = _COLOURS[number % len(_COLOURS)], _STYLES[number // len(_COLOURS) % len(_STYLES)]
        steps, mean, low, high = band(seeds)
        label = f"{name} ({len(seeds)} seed{'s' if len(seeds) > 1 else ''})"
        axes.plot(steps, mean, style, color=colour, label=label)
        if len(seeds) > 2:  # the band of two is their two curves
            axes.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
    if threshold is not None:
        axes.axhline(threshold, color="grey", linestyle="--", linewidth=1, label=f"threshold {threshold:g}")
    axes.set(title=title, xlabel="env steps", ylabel="return of greedy evaluations")
    axes.grid(alpha=0.3)
    if axes.has_data():
        if len(curves) > _MANY:
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize="small")
        else:
            axes.legend(loc="best")
    return figure


def band(seeds: Sequence[Sequence[tuple[int, float]]]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns env steps, mean over seeds, and its 95 % bootstrap interval, each <float64>[E].

    Between its evaluations, and after the last one, a seed has the value of the one before.
    """
    first = max(curve[0][0] for curve in seeds)
    steps = sorted({step for curve in seeds for step, _ in curve if step >= first})
    values = np.array([[_at(curve, step) for step in steps] for curve in seeds], np.float64)  # [seeds, E]
    bounds = np.array([aggregates.mean_interval(column) for column in values.T]).reshape(-1, 2)
    return np.array(steps, np.float64), values.mean(axis=0), bounds[:, 0], bounds[:, 1]


def _at(curve, step):
    return [value for at, value in curve if at <= step][-1]

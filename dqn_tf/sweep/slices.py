"""A picture of a sweep: the result of each trial over each setting that was searched."""

from collections.abc import Mapping, Sequence
from typing import Any

from dqn_tf.config import settings
from dqn_tf.reporting.reward_curve import Curve
from dqn_tf.sweep.search_space import Dimension

_COLUMNS = 3


def draw(space: Mapping[str, Dimension], trials: Sequence[tuple[Mapping[str, Any], float]], label: str) -> Curve:
    """Returns the figure.

    Args:
      trials: settings by name, and the result, of each trial.
      label: what the result is.
    """
    columns = min(len(space), _COLUMNS)
    lines = -(-len(space) // columns)
    figure = Curve(3.5 * columns, 3 * lines)
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
    best = max(value for _, value in trials)
    for axes, dimension in zip(grid.flat, space.values(), strict=False):
        for params, value in trials:
            place = params[dimension.name]
            place = dimension.choices.index(place) if dimension.choices else place
            colour, size = ("#D55E00", 50) if value == best else ("#0072B2", 25)
            axes.scatter([place], [value], color=colour, s=size, alpha=0.7, linewidths=0)
        if dimension.choices:
            axes.set_xticks(range(len(dimension.choices)), [settings.to_text(one) for one in dimension.choices])
            axes.set_xlim(-0.5, len(dimension.choices) - 0.5)
        else:
            axes.set_xscale("log" if dimension.is_log else "linear")
            axes.set_xlim(dimension.low, dimension.high)
        axes.set_xlabel(dimension.name)
        axes.grid(alpha=0.3)
    for axes in grid.flat[len(space) :]:
        axes.set_visible(False)
    for line in grid:
        line[0].set_ylabel(label)
    return figure

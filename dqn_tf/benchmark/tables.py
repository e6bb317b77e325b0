"""What a comparison has found, as JSON, as a Markdown table and as pictures."""

import dataclasses
import json
import statistics
from collections.abc import Sequence
from typing import Any

from dqn_tf.benchmark import aggregates, learning_curves
from dqn_tf.benchmark.comparison import Comparison, Row, by_cell, place_of
from dqn_tf.persistence import archive
from dqn_tf.persistence.versions import versions
from dqn_tf.reporting import reward_curve

_HEAD = """\
| environment | setting | seeds | best model: mean | std | IQM (95 %) | solved | last weights: mean | std | \
IQM (95 %) | solved | env steps to the threshold | seconds to it | seconds of a run |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
"""
_LEGEND = """\
*Best model*: mean return of fresh greedy episodes of the best model of each run. *Last weights*: of the last evaluation
during it. IQM is the mean of the middle half of the seeds, with its 95 % bootstrap interval. *Solved*: the share of
seeds at or above the environment's threshold. Env steps and seconds to it are medians over the seeds that reached it in
an evaluation.
"""


def tree(comparison: Comparison, rows: Sequence[Row]) -> dict[str, Any]:
    """Returns everything that is known of finished runs, and their statistics, as plain values."""
    return {
        "flags": list(comparison.flags),
        "settings": {name: list(given) for name, given in comparison.settings.items()},
        "versions": versions(),
        "runs": [dataclasses.asdict(row) for row in rows],
        "aggregates": [_cell(env, setting, runs) for env, setting, runs in by_cell(rows)],
    }


def _cell(env, setting, runs):
    reached = [row.result for row in runs if row.result.threshold_env_steps is not None]
    threshold = runs[0].result.threshold
    return {
        "env": env,
        "setting": setting,
        "seeds": [row.seed for row in runs],
        "best": _statistics([row.result.best for row in runs], threshold),
        "last": _statistics([row.result.last for row in runs], threshold),
        "threshold": threshold,
        "threshold_env_steps": statistics.median(one.threshold_env_steps for one in reached) if reached else None,
        "threshold_seconds": statistics.median(one.threshold_seconds for one in reached) if reached else None,
        "seconds": statistics.median(row.result.seconds for row in runs),
    }


def _statistics(values, threshold):
    solved = None if threshold is None else sum(value >= threshold for value in values) / len(values)
    return {**aggregates.aggregate(values)._asdict(), "solved": solved}


def markdown(found: dict[str, Any]) -> str:
    """Returns the table of `tree`."""
    lines = [_line(cell) for cell in found["aggregates"]]
    return _HEAD + "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _line(cell):
    best, last = (_words(cell[name]) for name in ("best", "last"))
    steps, seconds = (
        "" if cell[name] is None else f"{cell[name]:,.0f}" for name in ("threshold_env_steps", "threshold_seconds")
    )
    seeds = str(len(cell["seeds"]))
    return [cell["env"], cell["setting"], seeds, *best, *last, steps, seconds, f"{cell['seconds']:.0f}"]


def _words(one):
    interval = "" if one["low"] is None else f" ({digits(one['low'])} to {digits(one['high'])})"
    solved = "" if one["solved"] is None else f"{100 * one['solved']:.0f} %"
    return digits(one["mean"]), digits(one["std"]), f"{digits(one['iqm'])}{interval}", solved


def digits(value: float) -> str:
    """Returns a return with the digits that its size needs."""
    size = abs(value)
    decimals = 0 if size >= 1_000 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:.{decimals}f}"


def write(comparison: Comparison, rows: Sequence[Row]) -> str:
    """Writes results.json, results.md and a picture for each environment; returns the table."""
    out, found = comparison.out, tree(comparison, rows)
    archive.write_whole(out / "results.json", json.dumps(found) + "\n")
    pictures = []
    for env in dict.fromkeys(row.env for row in rows):
        mine = [row for row in rows if row.env == env]
        curves = {setting: [row.result.curve for row in runs] for _, setting, runs in by_cell(mine)}
        name = f"{place_of(env)}.png"
        reward_curve.save(learning_curves.draw(env, curves, mine[0].result.threshold), out / name)
        pictures.append(f"![Learning curves in {env}]({name})\n")
    table = markdown(found)
    archive.write_whole(out / "results.md", "\n".join([table, _LEGEND, *pictures]))
    return table

"""What a sweep has found: best.json, a table of its trials, and pictures."""

import logging
import warnings
from typing import Any

import optuna

from dqn_tf.persistence import archive
from dqn_tf.sweep.study import Sweep

_log = logging.getLogger(__name__)

_MOST_ROWS = 20


def write(sweep: Sweep, study: optuna.Study) -> str:
    """Writes best.json, results.md and slices.png; returns the table of the best trials."""
    trials = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if not trials:
        return "no trial has been made to its end"
    best = sweep.write_best(study)
    lines = [f"| {sweep.metric} return, mean of {len(sweep.seeds)} seeds | {' | '.join(sweep.space)} |"]
    lines.append("|---" * (1 + len(sweep.space)) + "|")
    for trial in sorted(trials, key=lambda one: -one.value)[:_MOST_ROWS]:
        cells = [_shown(trial.params.get(name, "")) for name in sweep.space]
        lines.append(f"| {trial.value:.4g} | {' | '.join(cells)} |")
    pruned = len(study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.PRUNED,)))
    lines += ["", f"{len(trials)} trials were made to their end, {pruned} were pruned. {_importance(study, trials)}"]
    lines += [f"The best settings: python train.py --config={best}"]
    table = "\n".join(lines)
    picture = "\n\n![Return over each setting](slices.png)\n" if _draw(sweep, study, trials) else "\n"
    archive.write_whole(sweep.out / "results.md", table + picture)
    return table


def _importance(study: optuna.Study, trials: list[Any]) -> str:
    if len(trials) < 4:
        return ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # optuna calls this evaluator experimental
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in found.items())
    return f"How much each setting mattered (PED-ANOVA): {shares}."


def _draw(sweep, study, trials):
    """Writes slices.png, the results over each setting; returns whether there is one. A warning if that fails."""
    if len(trials) < 2:
        return False
    try:
        import matplotlib

        matplotlib.use("Agg")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            axes = optuna.visualization.matplotlib.plot_slice(study, target_name=f"{sweep.metric} return")
        figure = (axes if hasattr(axes, "figure") else axes[0]).figure
        figure.savefig(sweep.out / "slices.png", bbox_inches="tight", dpi=100)
        return True
    except Exception as error:  # the result stands without a picture
        _log.warning("slices.png cannot be drawn: %s: %s", type(error).__name__, error)
        return False


def _shown(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)

"""What a sweep has found: best.json, a table of its trials, and pictures."""

import warnings
from typing import Any

import optuna

from dqn_tf.benchmark.child import RunFailed
from dqn_tf.persistence import archive
from dqn_tf.reporting import reward_curve
from dqn_tf.sweep import search_space, slices
from dqn_tf.sweep.study import Sweep

_MOST_ROWS = 20


def write(sweep: Sweep, study: optuna.Study) -> str:
    """Writes best.json, results.md and slices.png; returns the table of the best trials. Raises RunFailed: none is."""
    trials = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if not trials:
        raise RunFailed("no trial has been made to its end: all contradict themselves, or were pruned")
    best = sweep.write_best(study)
    lines = [f"| {sweep.metric} return, mean of {len(sweep.seeds)} seeds | {' | '.join(sweep.space)} |"]
    lines.append("|---" * (1 + len(sweep.space)) + "|")
    different = {str(trial.params): trial for trial in sorted(trials, key=lambda one: one.value)}
    for trial in list(different.values())[: -_MOST_ROWS - 1 : -1]:
        cells = [search_space.shown(trial.params.get(name, "")) for name in sweep.space]
        lines.append(f"| {trial.value:.4g} | {' | '.join(cells)} |")
    pruned = len(study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.PRUNED,)))
    lines += ["", f"{len(trials)} trials were made to their end, {pruned} were pruned. {_importance(study, trials)}"]
    lines += [f"The best settings: python train.py --config={best}"]
    table = "\n".join(lines)
    figure = slices.draw(sweep.space, [(trial.params, trial.value) for trial in trials], f"{sweep.metric} return")
    reward_curve.save(figure, sweep.out / "slices.png")
    archive.write_whole(sweep.out / "results.md", f"{table}\n\n![Return over each setting](slices.png)\n")
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

"""Which additions to DQN exclude each other, each in one line."""

from collections.abc import Iterator
from typing import Any

# What has a meaning only beside another setting: its section, and the choice, or one of the choices, of the other.
_BELONGS_TO = {
    ("network", "num_atoms"): ("head", "categorical"),
    ("network", "num_quantiles"): ("head", "quantile"),
    ("network", "num_tau_samples"): ("head", "implicit_quantile"),
    ("network", "num_policy_tau_samples"): ("head", "implicit_quantile"),
    ("network", "noisy_sigma"): ("noisy", True),
    ("learning", "learning_rate_final"): ("learning_rate_schedule", ("linear", "cosine")),
    ("learning", "learning_rate_decay_env_steps"): ("learning_rate_schedule", ("linear", "cosine")),
    ("learning", "learning_rate_decay"): ("learning_rate_schedule", "inverse_time"),
    ("learning", "munchausen_alpha"): ("munchausen", True),
    ("learning", "munchausen_tau"): ("munchausen", True),
    ("learning", "munchausen_clip"): ("munchausen", True),
    ("exploration", "temperature"): ("exploration", "boltzmann"),
    ("exploration", "ape_x_epsilon"): ("exploration", "ape_x"),
    ("exploration", "ape_x_alpha"): ("exploration", "ape_x"),
    ("replay", "priority_exponent"): ("replay", "prioritized"),
    ("replay", "importance_exponent"): ("replay", "prioritized"),
    ("replay", "importance_exponent_final"): ("replay", "prioritized"),
}


def check(config: Any) -> list[str]:
    """Returns one line for each pair of settings of a Config that exclude each other, and for each without effect."""
    return [*_problems(config.network, config.learning), *_of_runs(config), *_without_effect(config)]


def _of_runs(config):
    evaluation, learning = config.evaluation, config.learning
    if evaluation.stop_at_return is not None and not evaluation.eval_period:
        goal = f"--stop_at_return={evaluation.stop_at_return:g}"
        yield f"{goal} needs evaluations during the run, and --eval_period=0 makes none; give a period."
    decay, starts = learning.learning_rate_decay_env_steps, config.training.learning_starts
    if 0 < decay <= starts:
        yield f"--learning_rate_decay_env_steps={decay} must be above --learning_starts={starts}, or 0."


def _without_effect(config):
    for (section, name), (other, choice) in _BELONGS_TO.items():
        branch, choices = getattr(config, section), choice if isinstance(choice, tuple) else (choice,)
        value, is_used = getattr(branch, name), getattr(branch, other) in choices
        if value != type(branch).__dataclass_fields__[name].default and not is_used:
            beside = f"--{other}" if choice is True else f"--{other}={choices[0]}"
            yield f"--{name}={value} has no effect without {beside}; give that, or leave it out."


def _problems(network, learning):
    is_own, own_loss = ":" in network.network, ":" in learning.loss
    if network.num_critics > 1 and network.head != "expected":
        yield f"--num_critics={network.num_critics} is for --head=expected, not --head={network.head}; leave one out."
    if network.num_critics > 1 and learning.munchausen:
        yield f"--num_critics={network.num_critics} and --munchausen each have targets of their own; leave one out."
    if learning.munchausen and network.head == "categorical":
        yield "--munchausen has no meaning for --head=categorical; use another head, or leave --munchausen out."
    if network.head != "expected" and learning.loss != "huber" and not own_loss:
        yield f"--loss={learning.loss} is for --head=expected; --head={network.head} has its own loss: leave it out."
    if network.head == "categorical" and not network.v_min < network.v_max:
        yield f"--v_min={network.v_min:g} must be below --v_max={network.v_max:g}."
    if own_loss:
        given = "munchausen" if learning.munchausen else "num_critics" if network.num_critics > 1 else ""
        if given:
            yield f"--{given} changes the targets, which --loss={learning.loss} makes itself; leave one out."
    yield from _of_networks(network, is_own)


def _of_networks(network, is_own) -> Iterator[str]:
    """Yields what has no effect in a network that is the user's, or no impala_cnn."""
    if is_own:
        for name in ("dueling", "noisy", "spectral_norm", "normalize_observations"):
            if getattr(network, name):
                yield f"--{name}: --network={network.network} has its own layers; leave one of them out."
        if network.num_critics > 1:
            yield f"--num_critics={network.num_critics}: --network={network.network} is one network; leave one out."
        if network.normalization != "none":
            how = f"--normalization={network.normalization}"
            yield f"{how}: --network={network.network} has its own layers; leave one out."
        return
    if network.network != "impala_cnn":
        given = {"width": network.width > 1, "pooling": network.pooling, "spectral_norm": network.spectral_norm}
        for name in (name for name, is_given in given.items() if is_given):
            yield f"--{name} is for --network=impala_cnn, not --network={network.network}; give that, or leave it out."

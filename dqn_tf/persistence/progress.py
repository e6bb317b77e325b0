"""Counters of a run."""

import dataclasses


@dataclasses.dataclass
class Progress:
    """Counters of a run, equal on all workers; evaluations and episodes are known to the chief only.

    Attributes:
      env_steps: of all workers.
      num_episodes: ended episodes of all workers.
      wall_seconds: since the start of the command, summed over all resumes.
      last_return: mean of the last evaluation; None before the first.
      evaluated_env_steps: when the last evaluation was.
      best_return: mean of the best evaluation so far; None before the first.
      threshold_env_steps, threshold_seconds: when an evaluation first reached the environment's threshold.
      evaluation_due: an evaluation was postponed, because the run had to stop.
    """

    env_steps: int = 0
    num_episodes: int = 0
    wall_seconds: float = 0.0
    last_return: float | None = None
    evaluated_env_steps: int | None = None
    best_return: float | None = None
    threshold_env_steps: int | None = None
    threshold_seconds: float | None = None
    evaluation_due: bool = False

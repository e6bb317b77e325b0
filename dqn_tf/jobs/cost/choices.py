"""Machines to choose from for a run: hours, cost, and the cheapest that meets a deadline."""

import dataclasses
from collections.abc import Sequence

from dqn_tf.config.schema import Config, ConfigError
from dqn_tf.jobs.cost import measured as measured_lib
from dqn_tf.jobs.cost import prices


@dataclasses.dataclass(frozen=True)
class Choice:
    """A number of machines, each a worker, and what the run takes on them.

    Attributes:
      machine, workers: the machine and how many of it.
      hours: of the run.
      usd, usd_spot: of the whole run, all machines; usd_spot None where there is no spot price.
      efficiency: hours on one machine / (workers * hours).
    """

    machine: prices.Machine
    workers: int
    hours: float
    usd: float
    usd_spot: float | None
    efficiency: float

    def cost(self, spot: bool) -> float:
        """Returns USD of the run, on spot machines or on demand."""
        return self.usd_spot if spot else self.usd


def compute(
    machines: Sequence[prices.Machine],
    figures: measured_lib.Measured,
    config: Config,
    counts: Sequence[int],
    gpus: int = 0,
    gigabits: float = 10,
    latency_us: float = 50,
) -> list[Choice]:
    """Returns what the run takes on each number of each machine, where these have memory and cores for it."""
    alone = measured_lib.hours(figures, config, 1, gigabits, latency_us)
    found = []
    for workers in counts:
        hours = measured_lib.hours(figures, config, workers, gigabits, latency_us)
        needed = measured_lib.memory_gb(figures, config, workers)
        for machine in machines:
            if machine.memory_gb < needed or machine.cores < measured_lib.VCPUS:
                continue
            usd = workers * hours * prices.cost_per_hour(machine, gpus, False)
            try:
                usd_spot = workers * hours * prices.cost_per_hour(machine, gpus, True)
            except ConfigError:
                usd_spot = None
            found.append(Choice(machine, workers, hours, usd, usd_spot, alone / (workers * hours)))
    return found


def cheapest_of_each(found: Sequence[Choice], spot: bool) -> list[Choice]:
    """Returns of each platform and number of workers the cheapest choice."""
    best: dict[tuple[str, int], Choice] = {}
    for choice in sorted(found, key=lambda choice: choice.cost(spot)):
        best.setdefault((choice.machine.platform, choice.workers), choice)
    return list(best.values())


def verdict(found: Sequence[Choice], spot: bool, deadline_hours: float | None) -> str:
    """Returns a line: the cheapest choice, of those that meet the deadline where there is one."""
    if deadline_hours is None:
        return f"Cheapest: {_said(min(found, key=lambda choice: choice.cost(spot)), spot)}."
    intime = [choice for choice in found if choice.hours <= deadline_hours]
    if intime:
        best = min(intime, key=lambda choice: choice.cost(spot))
        return f"Cheapest within {deadline_hours:g} h: {_said(best, spot)}."
    fastest = min(found, key=lambda choice: (choice.hours, choice.cost(spot)))
    return f"None meets --deadline_hours={deadline_hours:g}; the fastest is {_said(fastest, spot)}."


def _said(choice, spot):
    machine, kind = choice.machine, "on spot machines" if spot else "on demand"
    what = f"{choice.workers} x {machine.name} ({machine.platform}, {machine.region})"
    return f"{what}, {choice.hours:.3g} h, {money(choice.cost(spot))} USD {kind}, price of {machine.date}"


def money(usd: float) -> str:
    """Returns an amount with cents, or where these are too coarse, two digits."""
    return f"{usd:.2f}" if usd >= 0.1 or usd == 0 else f"{usd:.2g}"


def draw(found: Sequence[Choice], spot: bool, deadline_hours: float | None, path: str) -> None:
    """Draws cost against hours, a marker for each choice and the deadline as a line, into a PNG file."""
    from matplotlib.figure import Figure  # only where there is something to draw

    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    axes = figure.subplots()
    for platform, marker in zip(prices.PLATFORMS, "os^D", strict=True):
        mine = [choice for choice in found if choice.machine.platform == platform]
        if mine:
            axes.plot([c.hours for c in mine], [c.cost(spot) for c in mine], marker, alpha=0.7, label=platform)
    for hours, workers in {choice.hours: choice.workers for choice in found}.items():
        lowest = min(choice.cost(spot) for choice in found if choice.hours == hours)
        axes.annotate(f"{workers}", (hours, lowest), (10, -4), textcoords="offset points", ha="center")
    if deadline_hours is not None:
        axes.axvline(deadline_hours, color="gray", linestyle="--", label="deadline")
    kind = "spot" if spot else "on demand"
    axes.set(xlabel="hours", ylabel=f"USD, {kind}", title="Cost and time of the run; figures: how many machines")
    axes.set_xlim(0, 1.06 * max(choice.hours for choice in found))
    axes.set_ylim(0)
    axes.legend()
    figure.savefig(path, format="png")  # else .png becomes .png.png

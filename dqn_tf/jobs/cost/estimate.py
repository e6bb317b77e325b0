"""Hours and cost of a run on the machines of a price file, and the cheapest that meets a deadline."""

import dataclasses
import sys
from collections.abc import Sequence
from typing import NamedTuple

from dqn_tf.config import flags, settings, words
from dqn_tf.config.schema import Config, ConfigError, check_division, field
from dqn_tf.jobs.cost import measured, prices

_NOT_COUNTED = "storage, traffic, images, the cluster itself, waiting for machines, evaluations, checkpoints, taxes"


@dataclasses.dataclass(frozen=True)
class _Options:
    platform: str = field("", "of the machines; empty: all", choices=("", *prices.PLATFORMS))
    prices: str = field("", "price file; empty: a small sample", unit="path")
    workers: tuple[int, ...] = field((), "numbers of machines; empty: 1,2,4,8", minimum=1, maximum=512)
    gpus: int = field(0, "of each machine; needs --updates_per_second or --summary", minimum=0, maximum=64)
    spot: bool = field(False, "choose by the spot price")
    deadline_hours: float | None = field(None, "choose the cheapest that meets this", minimum=0.001, maximum=100_000)
    updates_per_second: float | None = field(None, "of one worker with these flags", minimum=0.001, maximum=10**9)
    summary: str = field("", "summary.json of a run of one worker with these flags, for its speed", unit="path")
    gigabits: float = field(10.0, "network", unit="Gbit/s", minimum=0.001, maximum=100_000)
    latency_us: float = field(50.0, "of the network", unit="us", minimum=0, maximum=10**6)
    plot: str = field("", "draw cost against hours into this .png file", unit="path")


_OPTIONS = settings.of(_Options)


class Choice(NamedTuple):
    """A number of machines with one worker on each: what the run costs, and how long it takes."""

    usd: float
    hours: float
    workers: int
    machine: prices.Machine


def _parse(argv):
    values, rest, problems = words.parse(_OPTIONS, argv)
    options = _Options(**values)
    decided = [word for word in rest if words.name_of(word) in ("strategy", "num_workers", "num_replicas")]
    problems += [f"{word} is not for the estimate: leave it out; give --workers and --gpus." for word in decided]
    config, wrong = flags.parse(["estimate", *rest], list(_OPTIONS), bool(options.gpus))
    if options.summary and options.updates_per_second:
        problems.append("--updates_per_second and --summary both say how fast a worker is; give one of them.")
    if options.gpus and not (options.updates_per_second or options.summary):
        problems.append(f"--gpus={options.gpus}: no GPU was measured; add --updates_per_second=N or --summary=FILE.")
    if problems or wrong:
        raise ConfigError(*problems, *wrong)
    return options, config


def choose(options: _Options, config: Config, machines: list[prices.Machine], speed: measured.Measured) -> list[Choice]:
    """Returns the numbers of machines that the run fits on, the cheapest first. Raises ConfigError if there is none."""
    divisions = {n: check_division(config, n, max(1, options.gpus)) for n in options.workers or (1, 2, 4, 8)}
    wrong, found = [problems for problems in divisions.values() if problems], []
    if wrong and (options.workers or len(wrong) == len(divisions)):
        raise ConfigError(*wrong[0])
    for workers in (number for number, problems in divisions.items() if not problems):
        hours = measured.hours(speed, config, workers, options.gigabits, options.latency_us)
        memory = measured.memory_gb(speed, config, workers)
        for m in machines:
            usd = m.usd_per_hour_spot if options.spot else m.usd_per_hour
            is_enough = m.gpus == options.gpus and m.cores >= measured.VCPUS and m.memory_gb >= memory
            if is_enough and options.platform in ("", m.platform) and usd is not None:
                found.append(Choice(workers * hours * usd, hours, workers, m))
    if not found:
        needed = f"{options.gpus} GPUs, {measured.VCPUS} virtual CPUs and {memory:.1f} GB{', for spot' * options.spot}"
        raise ConfigError(f"no machine of the price file has what a worker needs: {needed}; give other --prices=FILE.")
    return sorted(found, key=lambda choice: choice[:3])


def verdict(found: list[Choice], options: _Options) -> str:
    """Returns a line: the cheapest choice, of those that meet the deadline if there is one."""
    limit, kind = options.deadline_hours, "on spot machines" if options.spot else "on demand"
    intime = [choice for choice in found if limit is None or choice.hours <= limit]
    best = intime[0] if intime else min(found, key=lambda choice: choice.hours)
    said, m = "Cheapest" if limit is None else f"Cheapest within {limit:g} h", best.machine
    said = said if intime else f"None meets --deadline_hours={limit:g}; the fastest is"
    cost = f"{best.hours:.3g} h, {_money(best.usd)} USD {kind}, price of {m.date}"
    return f"{said}: {best.workers} x {m.name} ({m.platform}, {m.region}), {cost}."


def _money(usd):
    return f"{usd:.2f}" if usd >= 0.1 else f"{usd:.2g}"


def _table(found, is_spot):
    row = "{:<11} {:<20} {:<12} {:>7} {:>6} {:>8}  {}".format
    yield row("platform", "machine", "region", "workers", "hours", "USD spot" if is_spot else "USD", "price of")
    for usd, hours, workers, m in found:
        yield row(m.platform, m.name, m.region, workers, f"{hours:.3g}", _money(usd), m.date)


def draw(found: list[Choice], options: _Options, source: str) -> None:
    """Draws cost against hours into a PNG file: a marker for each choice, and the deadline as a line."""
    from matplotlib.figure import Figure  # only if there is something to draw

    axes = (figure := Figure(figsize=(8, 5), dpi=120, layout="constrained")).subplots()
    for platform, marker in zip(prices.PLATFORMS, "os^D", strict=True):
        mine = [choice for choice in found if choice.machine.platform == platform]
        axes.plot([c.hours for c in mine], [c.usd for c in mine], marker, alpha=0.7, label=platform)
    if options.deadline_hours:
        axes.axvline(options.deadline_hours, color="gray", linestyle="--", label="deadline")
    axes.set(xlabel="hours", xlim=(0, None), ylabel="USD, spot" if options.spot else "USD, on demand", ylim=(0, None))
    axes.set_title(f"Prices: {source}", fontsize="small", wrap=True)
    axes.legend()
    figure.savefig(options.plot, format="png")


def main(argv: Sequence[str]) -> int:
    """Returns the exit code: 0 done, 2 the user's mistake. Takes the words after `estimate`."""
    if flags.wants_help(["estimate", *argv]):
        lines = [line for option in _OPTIONS.values() for line in words.describe(option)]
        print("python -m dqn_tf.jobs estimate [options] [flags of train.py]: hours and cost of a run", *lines, sep="\n")
        return 0
    try:
        options, config = _parse(argv)
        machines, source = prices.load(options.prices)
        speed, said = measured.of_run(config, options.updates_per_second, options.summary)
        found = choose(options, config, machines, speed)
        shown = sorted({(c.machine.platform, c.workers): c for c in found[::-1]}.values(), key=found.index)
        if options.plot:
            draw(shown, options, source)
    except (ConfigError, OSError) as error:
        print(f"--plot: {error}" if isinstance(error, OSError) else error, file=sys.stderr)
        return 2
    print(f"{config.run.env}, {config.training.train_env_steps:,} env steps", *_table(shown, options.spot), sep="\n")
    print(f"\n{verdict(found, options)}\n\nPrices: {source}.")
    print(f"Speed: {said}. Every machine is taken to be as fast.\nNot counted: {_NOT_COUNTED}.")
    return 0

"""Hours and cost of a run on the machines of the price file, and the cheapest that meets a deadline.

python -m dqn_tf.jobs estimate [--platform=vertex] [--deadline_hours=8] [flags of train.py]
"""

import argparse
import os
import sys
from collections.abc import Sequence

from dqn_tf.config import flags
from dqn_tf.config import schema as config_lib
from dqn_tf.config.schema import ConfigError
from dqn_tf.jobs import options as options_lib
from dqn_tf.jobs.cost import choices
from dqn_tf.jobs.cost import measured as measured_lib
from dqn_tf.jobs.cost import prices
from dqn_tf.jobs.options import Option

_WORKERS = (1, 2, 4, 8)
_NOT_COUNTED = (
    "storage, network traffic, images, what a cluster costs by itself, the time until machines are there, "
    "evaluations, checkpoints, work repeated after a spot machine was taken away, taxes and discounts"
)


# Settings of the run that the estimate decides.
_DECIDED = {
    "strategy": "--workers and --gpus decide the strategy",
    "num_workers": "--workers decides how many workers there are",
    "num_replicas": "--gpus decides how many replicas a worker has",
}


class _Options:
    """The options of the estimate, written as those of the jobs are: --gpus=1, --deadline-hours 8, --spot=True.

    Attributes:
      known: them, by name.
    """

    def __init__(self):
        self.known: dict[str, Option] = {}
        self._parser = argparse.ArgumentParser(
            prog="python -m dqn_tf.jobs estimate",
            description="Prints hours and cost of a run; all other words are flags of train.py.",
            add_help=False,
            allow_abbrev=False,
        )

    def add_argument(self, name: str, option: Option) -> None:
        """Adds an option by its name with dashes."""
        self.known[name[2:]] = option
        metavar = {int: "N", float: "N", bool: "BOOL"}.get(option.kind, "TEXT")
        default = f" (default: {option.default:g})" if option.kind is float and option.default else ""
        self._parser.add_argument(name, nargs="?", metavar=metavar, help=option.help + default)

    def help_text(self) -> str:
        """Returns what --help prints."""
        return self._parser.format_help()


def _options():
    options, path = _Options(), "(default: the program's own)"
    options.add_argument("--platform", Option(f"{', '.join(prices.PLATFORMS)} (default: all)"))
    options.add_argument("--machine", Option("type of machine (default: the cheapest of each platform)"))
    options.add_argument("--region", Option("as the platform names it (default: all of the price file)"))
    options.add_argument("--workers", Option("numbers of machines, comma separated (default: 1,2,4,8)", default=None))
    options.add_argument("--gpus", Option("of each machine; needs --updates_per_second or --summary", int, 0, 0, 64))
    options.add_argument("--spot", Option("choose by the spot price", bool, False))
    options.add_argument("--deadline_hours", Option("choose the cheapest that meets this", float, None, 0.001, 100_000))
    options.add_argument("--prices", Option(f"price file {path}", is_path=True))
    measured = f"figures of a machine: --json of benchmarks/scaling.py {path}"
    options.add_argument("--measured", Option(measured, is_path=True))
    rate = dict(kind=float, default=None, low=0.001, high=10**9)
    options.add_argument("--updates_per_second", Option("of one worker, with this run's flags", **rate))
    options.add_argument("--env_steps_per_second", Option("of one worker that acts and waits for no update", **rate))
    summary = "summary.json of a run of one worker with these flags: both of these"
    options.add_argument("--summary", Option(summary, is_path=True))
    options.add_argument("--gigabits", Option("network, Gbit/s", float, 10.0, 0.001, 100_000))
    options.add_argument("--latency_us", Option("of the network, in microseconds", float, 50.0, 0, 10**6))
    options.add_argument("--all", Option("list every machine, not the cheapest of each platform", bool, False))
    plot = "draw cost against hours of what is listed into this PNG file"
    options.add_argument("--plot", Option(plot, is_path=True))
    return options


def _parse(argv):
    """Returns the options of the estimate and the Config of the run. Raises ConfigError with every mistake."""
    known = _options().known
    texts, words = options_lib.split(known, argv)
    values, problems = options_lib.read(known, texts)
    options = argparse.Namespace(**values)
    for word in words:
        name = flags.name_of(word)
        if word.startswith("-") and name in _DECIDED:
            problems.append(f"{word} is not for the estimate: leave it out; {_DECIDED[name]}.")
    config, wrong = flags.parse(["estimate", *words], list(known))
    problems += wrong
    if options.platform == "slurm":
        problems.append(
            "--platform=slurm: a cluster of your own has no price; give --prices=FILE with its machines under platform "
            "kubernetes, or leave --platform out and read the hours, which are those of any machine."
        )
    options.platform = "kubernetes" if options.platform == "tfjob" else options.platform  # a TFJob's pods are there
    for name in ("updates_per_second", "env_steps_per_second"):
        if getattr(options, name) and options.summary:
            problems.append(f"--{name} and --summary both say how fast a worker is; give one of them.")
    problems += _plot_problems(options.plot)
    if problems:
        raise ConfigError(*dict.fromkeys(problems))
    return options, config


def _plot_problems(path):
    """Returns a line where the picture cannot be written, before matplotlib is imported."""
    directory = os.path.dirname(path) or "."
    if not path:
        return []
    if not path.lower().endswith(".png"):
        return [f"--plot={path} must be a PNG file: its name has to end in .png."]
    if os.path.isdir(path):
        return [f"--plot={path} cannot be written: it is a directory."]
    if not os.path.isdir(directory):
        return [f"--plot={path} cannot be written: there is no directory {directory}."]
    return [] if os.access(directory, os.W_OK) else [f"--plot={path} cannot be written: {directory} is read-only."]


def _worker_counts(text, config, gpus):
    """Returns the numbers of workers to try; those that are not asked for have to divide the run's numbers."""
    replicas = max(1, gpus)
    if text is None:
        counts = [workers for workers in _WORKERS if not config_lib.check_division(config, workers, replicas)]
        if not counts:
            raise ConfigError(*config_lib.check_division(config, 1, replicas))
        return counts
    try:
        counts = sorted({int(part) for part in text.split(",")})
    except ValueError:
        counts = [0]
    if counts[0] < 1 or counts[-1] > 512:
        raise ConfigError(f"--workers={text} must be whole numbers from 1 to 512, comma separated.")
    for workers in counts:
        problems = config_lib.check_division(config, workers, replicas)
        if problems:
            raise ConfigError(*problems)
    return counts


def _figures(options, config):
    """Returns the measured figures to use, a line that says which, and whether updates and acting were given."""
    figures = measured_lib.load(options.measured)
    line = ", ".join(f"{name} {value}" for name, value in figures.about.items())
    if options.measured:
        line = f"{options.measured} ({line}); what it lacks of acting, start and memory is the program's own"
    learning, acting, given = options.updates_per_second, options.env_steps_per_second, "as given"
    if options.summary:
        learning, acting = measured_lib.rates_of_summary(options.summary, config)
        given = f"of {options.summary}{', its waits left out' * bool(acting)}"
    if options.gpus and not learning:
        raise ConfigError(
            f"--gpus={options.gpus}: no GPU was measured; add --updates_per_second=N or --summary=FILE of such a GPU."
        )
    rates = []
    if learning:
        figures = measured_lib.at_rate(figures, config, learning)
        rates.append(f"{learning:.4g} updates/s")
    if acting:
        figures = measured_lib.acting_at(figures, config, acting)
        rates.append(f"{acting:.4g} env steps/s")
    line = f"{' and '.join(rates)} {given}; all else: {line}" if rates else line
    return figures, line, (bool(learning), bool(acting))


def _candidates(options):
    """Returns the machines to choose from: with GPUs only where these are asked for, or the machine is named."""
    machines = prices.select(prices.load(options.prices), options.platform, options.machine, options.region)
    if options.machine:
        return prices.having(machines, options.gpus, options.spot)
    fitting = [machine for machine in machines if machine.gpus >= options.gpus and (options.gpus or not machine.gpus)]
    if not fitting:
        most = max(machine.gpus for machine in machines)
        raise ConfigError(f"--gpus={options.gpus}: the machines of the price file that are left have {most} at most.")
    return fitting


def _table(found):
    rows = [("platform", "machine", "region", "workers", "hours", "USD", "USD spot", "efficiency")]
    for choice in found:
        machine = choice.machine
        spot = "-" if choice.usd_spot is None else choices.money(choice.usd_spot)
        figures = (str(choice.workers), f"{choice.hours:.3g}", choices.money(choice.usd), spot)
        figures += (f"{choice.efficiency:.0%}",)
        rows.append((machine.platform, machine.name, machine.region, *figures))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        left = [cell.ljust(width) for cell, width in zip(row[:3], widths[:3], strict=True)]
        right = [cell.rjust(width) for cell, width in zip(row[3:], widths[3:], strict=True)]
        yield "  ".join(left + right)


def _sources(found, figures_line, options):
    """Returns where everything is from, and what is left out."""
    yield f"Measured: {figures_line}. Every machine is taken to be as fast as this one."
    yield (
        f"Several machines: one worker on each, the model of docs/scaling.md with {options.gigabits:g} Gbit/s and "
        f"{options.latency_us:g} us. More cores are taken to bring nothing, more workers to act no faster."
    )
    read = {}
    for choice in found:
        machine = choice.machine
        read.setdefault((machine.date, machine.source), []).append(machine.name)
    for (date, source), names in sorted(read.items()):
        yield f"Prices of {date}, {', '.join(dict.fromkeys(names))}: {source}."
    yield f"Not counted: {_NOT_COUNTED}."


def _unlike(config, is_update_known, is_acting_known):
    """Returns a line of what the run has that was not measured, none where there is nothing."""
    found = measured_lib.differences(config, is_update_known, is_acting_known)
    if not found:
        return []
    if is_update_known and is_acting_known:
        advice = "see that --machine has the memory"
    else:
        advice = (
            "hours and USD may be wrong by many times; measure with --summary=FILE of a short run of one worker, or "
            "give --updates_per_second=N and --env_steps_per_second=N"
        )
    return [f"Not as measured: {', '.join(found)}; {advice}."]


def main(argv: Sequence[str]) -> int:
    """Returns the exit code: 0 done, 2 the user's mistake. Takes the words after `estimate`."""
    if flags.wants_help(["estimate", *argv]):
        print(_options().help_text(), end="")
        return 0
    try:
        options, config = _parse(argv)
        counts = _worker_counts(options.workers, config, options.gpus)
        machines = _candidates(options)
        figures, figures_line, known = _figures(options, config)
        found = choices.compute(machines, figures, config, counts, options.gpus, options.gigabits, options.latency_us)
        found = [choice for choice in found if not options.spot or choice.usd_spot is not None]
        if not found:
            needed = measured_lib.memory_gb(figures, config, counts[-1])
            what = f"{measured_lib.VCPUS} virtual CPUs and the {needed:.1f} GB that a worker needs"
            raise ConfigError(f"No machine that is left has {what}{', and a spot price' * options.spot}.")
        shown = found if options.all or options.machine else choices.cheapest_of_each(found, options.spot)
        if options.plot:
            choices.draw(shown, options.spot, options.deadline_hours, options.plot)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"--plot={options.plot} cannot be written: {error.strerror}.", file=sys.stderr)
        return 2
    shown = sorted(shown, key=lambda choice: choice.cost(options.spot))
    verdict = choices.verdict(found, options.spot, options.deadline_hours)
    lines = [_run_line(config), *_unlike(config, *known), *_table(shown), "", verdict, ""]
    print(*lines, *_sources(shown, figures_line, options), sep="\n")
    return 0


def _run_line(config):
    training = config.training
    updates = round(training.replay_ratio * max(0, training.train_env_steps - training.learning_starts))
    return (
        f"{config.run.env}: {training.train_env_steps:,} env steps, {updates:,} updates of {training.batch_size} "
        f"transitions, measured: {measured_lib.network_of(config)}, {measured_lib.environment_of(config)}"
    )

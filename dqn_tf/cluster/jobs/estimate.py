"""Hours and cost of a run on the machines of the price file, and the cheapest that meets a deadline.

python -m dqn_tf.cluster.jobs estimate [--platform=vertex] [--deadline_hours=8] [flags of train.py]
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence

from dqn_tf import config as config_lib
from dqn_tf import flags
from dqn_tf.cluster.jobs import choices
from dqn_tf.cluster.jobs import measured as measured_lib
from dqn_tf.cluster.jobs import prices
from dqn_tf.config import ConfigError

_WORKERS = (1, 2, 4, 8)
_NOT_COUNTED = (
    "storage, network traffic, images, what a cluster costs by itself, the time until machines are there, "
    "evaluations, checkpoints, work repeated after a spot machine was taken away, taxes and discounts"
)


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise ConfigError(f"{message}; see estimate --help.")


def _number(text):
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not prices.is_number(value, 1e-9):
        raise argparse.ArgumentTypeError(f"{text} must be a number above 0")
    return value


def _parse(argv):
    """Returns the options of the estimate and the Config of the run."""
    parser = _Parser(
        prog="python -m dqn_tf.cluster.jobs estimate",
        description="Prints hours and cost of a run; all other words are flags of train.py.",
        allow_abbrev=False,
    )
    parser.add_argument("--platform", default="", help=f"{', '.join(prices.PLATFORMS)} (default: all)")
    parser.add_argument("--machine", default="", help="type of machine (default: the cheapest of each platform)")
    parser.add_argument("--region", default="", help="default: all of the price file")
    parser.add_argument("--workers", help="numbers of machines, comma separated (default: 1,2,4,8)")
    parser.add_argument("--gpus", type=int, default=0, help="of each machine; needs --updates_per_second or --summary")
    parser.add_argument("--spot", action="store_true", help="choose by the spot price")
    parser.add_argument("--deadline_hours", type=_number, help="choose the cheapest that meets this")
    parser.add_argument("--prices", default="", help="price file to use instead of the program's")
    parser.add_argument("--measured", default="", help="figures of your machine: --json of benchmarks/scaling.py")
    parser.add_argument("--updates_per_second", type=_number, help="of one worker, with this run's flags")
    parser.add_argument("--summary", default="", help="summary.json of a run of one worker with these flags")
    parser.add_argument("--gigabits", type=_number, default=10, help="network, Gbit/s (default: %(default)s)")
    parser.add_argument("--latency_us", type=_number, default=50, help="of the network (default: %(default)s)")
    parser.add_argument("--all", action="store_true", help="list every machine, not the cheapest of each platform")
    parser.add_argument("--plot", default="", help="draw cost against hours of what is listed into this PNG file")
    options, words = parser.parse_known_args(argv)
    config, problems = flags.parse(["estimate", *words])
    if problems:
        raise ConfigError(*problems)
    if options.gpus < 0:
        raise ConfigError(f"--gpus={options.gpus} must be a whole number of at least 0.")
    if options.plot and not options.plot.endswith(".png"):
        raise ConfigError(f"--plot={options.plot} must be a PNG file: its name has to end in .png.")
    if options.updates_per_second and options.summary:
        raise ConfigError("--updates_per_second and --summary both say how fast an update is; give one of them.")
    return options, config


def _worker_counts(text, config):
    """Returns the numbers of workers to try; those that are not asked for have to divide the run's numbers."""
    if text is None:
        return [workers for workers in _WORKERS if not config_lib.check_division(config, workers, 1)]
    try:
        counts = sorted({int(part) for part in text.split(",")})
    except ValueError:
        counts = [0]
    if counts[0] < 1 or counts[-1] > 512:
        raise ConfigError(f"--workers={text} must be whole numbers from 1 to 512, comma separated.")
    for workers in counts:
        problems = config_lib.check_division(config, workers, 1)
        if problems:
            raise ConfigError(*problems)
    return counts


def _figures(options, config):
    """Returns the measured figures to use, and a line that says which."""
    figures = measured_lib.load(options.measured)
    line = ", ".join(f"{name} {value}" for name, value in figures.about.items())
    if options.measured:
        line = f"{options.measured} ({line}); what it lacks of acting, start and memory is the program's own"
    if options.updates_per_second:
        rate = options.updates_per_second
        return measured_lib.at_rate(figures, config, rate), f"{rate:g} updates/s as given; all else: {line}"
    if options.summary:
        learning, acting = _rates(options.summary)
        network = measured_lib.network_of(config)
        figures = measured_lib.at_rate(figures, config, learning)
        if acting:
            figures = dataclasses.replace(figures, acting={**figures.acting, network: acting})
        return figures, f"{options.summary}: {learning:.4g} updates/s while learning; all else: {line}"
    if options.gpus:
        raise ConfigError(
            f"--gpus={options.gpus}: no GPU was measured; add --updates_per_second=N or --summary=FILE of such a GPU."
        )
    return figures, line


def _rates(path):
    """Returns the updates a second of a run's learner and the env steps a second of its actor, None if unknown."""
    tree = prices.read_json(path, f"--summary={path}", "")
    names = ("updates_per_second", "env_steps_per_second", "learner_wait_share", "actor_wait_share")
    updates, env_steps, learner_waits, actor_waits = (tree.get(name) for name in names)
    if not prices.is_number(updates, 1e-9):
        raise ConfigError(f"--summary={path} has no updates_per_second: it is not the summary.json of a finished run.")
    if tree.get("num_workers", 1) != 1:
        raise ConfigError(f"--summary={path} is of {tree['num_workers']} workers; give that of a run of one.")
    known = prices.is_number(env_steps, 1e-9) and all(
        prices.is_number(share) and share < 1 for share in (learner_waits, actor_waits)
    )
    return (updates / (1 - learner_waits), env_steps / (1 - actor_waits)) if known else (updates, None)


def _candidates(options):
    """Returns the machines to choose from: with GPUs only where these are asked for, or the machine is named."""
    machines = prices.select(prices.load(options.prices), options.platform, options.machine, options.region)
    if options.machine:
        for machine in machines:
            prices.cost_per_hour(machine, options.gpus, options.spot)  # says what it lacks
        return machines
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


def _sources(found, figures_line, options, config):
    """Returns where everything is from, and what is left out."""
    differences = measured_lib.differences(config)
    if differences:
        yield f"Not as measured: {', '.join(differences)}; --updates_per_second=N says how fast such updates are."
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


def main(argv: Sequence[str]) -> int:
    """Returns the exit code: 0 done, 2 the user's mistake. Takes the words after `estimate`."""
    try:
        options, config = _parse(argv)
        counts = _worker_counts(options.workers, config)
        machines = _candidates(options)
        figures, figures_line = _figures(options, config)
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
    lines = [_run_line(config), *_table(shown), "", choices.verdict(found, options.spot, options.deadline_hours), ""]
    print(*lines, *_sources(shown, figures_line, options, config), sep="\n")
    return 0


def _run_line(config):
    training = config.training
    updates = round(training.replay_ratio * max(0, training.train_env_steps - training.learning_starts))
    return (
        f"{config.run.env}: {training.train_env_steps:,} env steps, {updates:,} updates of {training.batch_size} "
        f"transitions, measured network: {measured_lib.network_of(config)}"
    )

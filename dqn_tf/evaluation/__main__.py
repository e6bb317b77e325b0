"""Evaluates the model of a finished run again, and films it.

python -m dqn_tf.evaluation --logdir=runs/CartPole-v1/... [--episodes=100] [--seed=0] [--video=DIR]
"""

import contextlib
import dataclasses
import json
import pathlib
import sys
import tempfile
from collections.abc import Sequence

from dqn_tf.config import flags, settings, words
from dqn_tf.config.schema import ConfigError, field
from dqn_tf.config.user_code import UserCodeFailure
from dqn_tf.environment.spec import EnvironmentLost
from dqn_tf.evaluation import finished_run, video
from dqn_tf.persistence import locations
from dqn_tf.process import console, startup


@dataclasses.dataclass(frozen=True)
class _Options:
    logdir: str = field("", "directory of the run", unit="path or gs://BUCKET/path")
    env: str = field("", "needed if it is module:EnvId, to say that this module may be imported")
    wrapper: tuple[str, ...] = field((), "needed if the run has wrappers, for the same reason", own="Class")
    network: str = field("", "needed if the run has a network of the user's own, for the same reason", own="function")
    episodes: int = field(100, "episodes to play", minimum=1)
    seed: int = field(0, "seed of the environments", minimum=0, maximum=2**31 - 1)
    max_episode_steps: int | None = field(None, "longer episodes are cut; empty: as in the run", minimum=1)
    video: str = field("", "directory to write a film of one episode to; needs the extra [video]", unit="path")
    epsilon: float | None = field(
        None, "probability of a random action; empty: as in the run", minimum=0, maximum=1
    )


_OPTIONS = settings.of(_Options)


def _parse(argv):
    values, rest, problems = words.parse(_OPTIONS, argv)
    problems += words.unknown(rest, list(_OPTIONS))
    if not (values.get("logdir") or problems):
        problems.append("--logdir is missing: directory of the run; see --help.")
    if problems:
        raise ConfigError(*problems)
    return _Options(**values)


def _help_text():
    lines = ["Evaluates the model of a finished run greedily and prints the returns as JSON:"]
    lines += ["python -m dqn_tf.evaluation --logdir=DIR [options]", ""]
    return "\n".join([*lines, *(line for option in _OPTIONS.values() for line in words.describe(option))])


@contextlib.contextmanager
def _local(logdir):
    """Returns a context with the directory of a run, or with a copy of the files needed if it is in a bucket."""
    if not locations.is_bucket(logdir):
        yield pathlib.Path(logdir)
        return
    from dqn_tf.persistence import mirror

    with tempfile.TemporaryDirectory() as directory:
        try:
            mirror.Mirror(pathlib.Path(directory), logdir).pull(["config.json", "model/q_network.keras"])
        except mirror.Unreachable as error:
            raise ConfigError(f"--logdir={logdir} cannot be read: {error.strerror}") from None
        yield pathlib.Path(directory)


def main(argv: Sequence[str]) -> int:
    """Returns the exit code: 0 done, 2 the user's mistake, 130 interrupted, 1 an environment or the output fails."""
    if flags.wants_help(["evaluation", *argv]):
        return console.print_result(_help_text())
    try:
        arguments = _parse(argv)
        with _local(arguments.logdir) as logdir:
            given = {name: value for name in ("env", "wrapper", "network") if (value := getattr(arguments, name))}
            run = finished_run.find(logdir, arguments.logdir, given)
            if arguments.video:
                video.check(run.environments, pathlib.Path(arguments.video))
            result = _evaluate(arguments, run)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except (UserCodeFailure, EnvironmentLost) as failure:
        print(failure, getattr(failure, "trace", ""), sep="\n", end="", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return console.print_result(json.dumps(result, indent=2))


def _evaluate(arguments, run):
    startup.load_keras()  # after the mistakes that can be known without it
    _, policy = run.network()
    limits = run.limits(arguments.max_episode_steps, arguments.epsilon)
    returns = run.evaluate(policy, arguments.episodes, arguments.seed, *limits)
    if arguments.video:
        directory, (longest, epsilon) = pathlib.Path(arguments.video), limits
        video.record(run.environments, policy, arguments.seed, longest, directory, epsilon)
    return {
        "env": run.spec.env_id,
        "eval_return_mean": float(returns.mean()),
        "eval_return_std": float(returns.std()),
        "eval_return_max": float(returns.max()),
        "eval_episodes": len(returns),
    }


if __name__ == "__main__":
    startup.prepare()
    startup.use_utf8()
    console.keep_streams()
    sys.exit(main(sys.argv[1:]))

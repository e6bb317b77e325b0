"""Evaluates the model of a finished run again, and films it.

python -m dqn_tf.evaluation --logdir=runs/CartPole-v1/... [--episodes=100] [--seed=0] [--video=DIR]
"""

import argparse
import contextlib
import json
import pathlib
import sys
import tempfile
from collections.abc import Sequence

from dqn_tf.config import files, settings
from dqn_tf.config.schema import ConfigError
from dqn_tf.config.user_code import UserCodeFailure
from dqn_tf.environment.spec import EnvironmentLost
from dqn_tf.evaluation import finished_run, video
from dqn_tf.persistence import locations
from dqn_tf.process import console, startup


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise ConfigError(f"{message}; see --help.")


def _parse(argv):
    parser = _Parser(
        prog="python -m dqn_tf.evaluation",
        description="Evaluates the model of a finished run greedily and prints the returns as JSON.",
    )
    parser.add_argument("--logdir", required=True, help="directory of the run")
    parser.add_argument("--env", help="needed where it is module:EnvId, to say that this module may be imported")
    parser.add_argument("--wrapper", help="needed if the run has wrappers, for the same reason")
    parser.add_argument("--network", help="needed if the run has a network of the user's own, for the same reason")
    parser.add_argument("--episodes", type=int, default=100, help="episodes to play (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the environments (default: %(default)s)")
    parser.add_argument(
        "--max_episode_steps", type=int, help="longer episodes are cut (default: as the run had it)"
    )
    parser.add_argument("--video", help="directory to write a film of one episode to; needs the extra [video]")
    parser.add_argument(
        "--epsilon", type=float, help="probability of a random action (default: as the run had it)"
    )
    arguments = parser.parse_args(argv)
    for name in ("logdir", "video"):
        given = getattr(arguments, name)
        try:
            setattr(arguments, name, given and files.from_user(given))
        except ValueError as allowed:
            raise ConfigError(f"--{name}={given} must be {allowed}.") from None
    for name in ("episodes", "max_episode_steps"):
        if getattr(arguments, name) is not None and getattr(arguments, name) < 1:
            raise ConfigError(f"--{name}={getattr(arguments, name)} must be a whole number of at least 1.")
    if arguments.epsilon is not None and not 0 <= arguments.epsilon <= 1:
        raise ConfigError(f"--epsilon={arguments.epsilon} must be a number from 0 to 1.")
    if not 0 <= arguments.seed < 2**31:
        raise ConfigError(f"--seed={arguments.seed} must be a whole number from 0 to {2**31 - 1}.")
    return arguments


@contextlib.contextmanager
def _local(logdir):
    """Returns a context with the directory of a run; of one in a bucket there is a copy of what is needed."""
    if not locations.is_bucket(logdir):
        yield pathlib.Path(logdir)
        return
    console.import_tensorflow()
    from dqn_tf.persistence import mirror

    with tempfile.TemporaryDirectory() as directory:
        try:
            mirror.Mirror(pathlib.Path(directory), logdir).pull(["config.json", "model/q_network.keras"])
        except mirror.Unreachable as error:
            raise ConfigError(f"--logdir={logdir} cannot be read: {error.strerror}") from None
        yield pathlib.Path(directory)


def main(argv: Sequence[str]) -> int:
    """Returns the exit code: 0 done, 2 the user's mistake, 130 interrupted, 1 an environment or the output fails."""
    try:
        arguments = _parse(argv)
        with _local(arguments.logdir) as logdir:
            given = {name: getattr(arguments, name) for name in ("env", "wrapper", "network")}
            typed, problems = settings.parse_all({name: text for name, text in given.items() if text is not None})
            if problems:
                raise ConfigError(*problems)
            run = finished_run.find(logdir, arguments.logdir, typed)
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

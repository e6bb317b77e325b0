"""Evaluates the model of a finished run again, and films it.

python -m dqn_tf.evaluation --logdir=runs/CartPole-v1/... [--episodes=100] [--seed=0] [--video=DIR]
"""

import argparse
import contextlib
import dataclasses
import json
import pathlib
import sys
import tempfile
from collections.abc import Sequence

from dqn_tf.config import files, settings
from dqn_tf.config.schema import ConfigError
from dqn_tf.environment.factory import Factory
from dqn_tf.environment.spec import EnvironmentFailure, EnvironmentLost
from dqn_tf.evaluation import followed_run, video
from dqn_tf.persistence import locations
from dqn_tf.persistence.run_directory import RunDirectory
from dqn_tf.process import console, hardware, reasons, startup


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


def _find(logdir, name, trusted):
    """Returns the Config of a finished run, which the user calls `name`, its model file and its EnvironmentSpec."""
    try:
        tree = files.read_object(logdir / "config.json")
        parts = {name: tree.get(name, {}) for name in ("run", "training", "atari", "evaluation")}
        values, problems = settings.from_json(parts, "config.json")
        config = settings.build(values)
        if problems or "env" not in values:
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(f"--logdir={name} holds no run: config.json is missing or cannot be read.") from None
    path = logdir / "model" / "q_network.keras"
    try:
        files.open_regular(path).close()
    except FileNotFoundError:
        raise ConfigError(f"--logdir={name} holds no finished run: there is no {name}/model/{path.name}.") from None
    except OSError as error:
        raise ConfigError(f"--logdir={name}: {path} cannot be loaded: {error.strerror}.") from None
    followed_run.check_trust(config.run.env, trusted, name)
    config = dataclasses.replace(config, training=dataclasses.replace(config.training, vectorization="sync"))
    spec = Factory.of(config).describe()
    RunDirectory(str(logdir), name).check_environment(spec)
    return config, path, spec


def main(argv: Sequence[str]) -> int:
    """Returns the exit code: 0 done, 2 the user's mistake, 130 interrupted, 1 an environment or the output fails."""
    try:
        arguments = _parse(argv)
        with _local(arguments.logdir) as logdir:
            config, path, spec = _find(logdir, arguments.logdir, arguments.env)
            if arguments.video:
                video.check(_environments(config), pathlib.Path(arguments.video))
            result = _evaluate(arguments, config, path, spec)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except (EnvironmentFailure, EnvironmentLost) as failure:
        print(failure, getattr(failure, "trace", ""), sep="\n", end="", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return console.print_result(json.dumps(result, indent=2))


def _environments(config):
    return dataclasses.replace(Factory.of(config), num_threads=hardware.num_cores())


def _evaluate(arguments, config, path, spec):
    startup.load_keras()  # after the mistakes that can be known without it
    import keras

    from dqn_tf.agent.policies import NetworkPolicy
    from dqn_tf.evaluation.evaluator import Evaluator, episode_limit

    try:
        network = keras.models.load_model(path, compile=False, safe_mode=True)
        takes, gives = (None, *spec.observation_shape), (None, spec.num_actions)
        if (network.input_shape, network.output_shape) != (takes, gives):
            raise ValueError(f"it makes {network.output_shape} of {network.input_shape}, not {gives} of {takes}")
    except Exception as error:  # whatever a damaged file makes of its parsers
        line = f"--logdir={arguments.logdir}: {path} cannot be loaded: {reasons.reason(error)}"
        raise ConfigError(line) from error
    policy = NetworkPolicy(network)
    environments = _environments(config)
    epsilon, longest = arguments.epsilon, arguments.max_episode_steps
    epsilon = config.evaluation.eval_epsilon if epsilon is None else epsilon
    longest = episode_limit(config, spec) if longest is None else longest
    with contextlib.closing(Evaluator(environments, arguments.episodes, longest, epsilon)) as evaluator:
        returns = evaluator.evaluate(policy, arguments.seed)
    if arguments.video:
        directory = pathlib.Path(arguments.video)
        video.record(environments, policy, arguments.seed, longest, directory, epsilon)
    return {
        "env": environments.env_id,
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

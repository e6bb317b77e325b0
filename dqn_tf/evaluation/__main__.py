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

from dqn_tf.config import files, flags, settings, words
from dqn_tf.config.schema import ConfigError, field
from dqn_tf.environment.factory import Factory
from dqn_tf.environment.spec import EnvironmentFailure, EnvironmentLost
from dqn_tf.evaluation import followed_run, video
from dqn_tf.persistence import locations
from dqn_tf.persistence.run_directory import RunDirectory
from dqn_tf.process import console, hardware, reasons, startup


@dataclasses.dataclass(frozen=True)
class _Options:
    logdir: str = field("", "directory of the run", unit="path or gs://BUCKET/path")
    env: str = field("", "needed if it is module:EnvId, to say that this module may be imported")
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
    if flags.wants_help(["evaluation", *argv]):
        return console.print_result(_help_text())
    try:
        arguments = _parse(argv)
        with _local(arguments.logdir) as logdir:
            config, path, spec = _find(logdir, arguments.logdir, arguments.env or None)
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
    startup.load_keras()  # after all mistakes that can be found without it
    import keras

    from dqn_tf.agent.policies import NetworkPolicy
    from dqn_tf.evaluation.evaluator import Evaluator, episode_limit

    try:
        network = keras.models.load_model(path, compile=False, safe_mode=True)
        takes, gives = (None, *spec.observation_shape), (None, spec.num_actions)
        if (network.input_shape, network.output_shape) != (takes, gives):
            raise ValueError(f"it makes {network.output_shape} of {network.input_shape}, not {gives} of {takes}")
    except Exception as error:  # a damaged file may raise anything
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

"""Which module makes an environment; names that are no games; settings of Atari where there is no game."""

import multiprocessing
import sys

import numpy as np
import pytest

from dqn_tf.config import schema
from dqn_tf.environment import atari, factory, vector
from dqn_tf.environment.maker import Maker
from tests import making, runs
from tests.environment.scripted import seeds


@pytest.fixture
def closing():
    """Returns a function that gives back an environment, which is closed after the test."""
    made = []

    def keep(environment):
        made.append(environment)
        return environment

    yield keep
    for environment in made:
        environment.close()


def problems(function, *arguments):
    with pytest.raises(schema.ConfigError) as raised:
        function(*arguments)
    return list(raised.value.problems)


# Environments of Gymnasium.


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_make_of_an_environment_of_gymnasium_gives_so_many_stepped_as_asked_for(closing, vectorization):
    environments = making.environments("CartPole-v1", vectorization=vectorization)
    before = len(multiprocessing.active_children())
    made = closing(environments.make(2))
    assert isinstance(made, vector.VectorEnvironment) and made.num_envs == 2
    assert made.spec == environments.describe() == vector.describe(Maker("CartPole-v1"))
    assert len(multiprocessing.active_children()) - before == (2 if vectorization == "async" else 0)


def test_describe_refuses_threads_of_games_where_there_are_none():
    with pytest.raises(schema.ConfigError, match="^--actor_threads=3 is for Atari games, and --env=CartPole-v1 is"):
        making.environments("CartPole-v1", actor_threads=3).describe()


def test_describe_refuses_processes_for_games():
    with pytest.raises(schema.ConfigError, match="^--vectorization=async: games such as --env=ALE/Pong-v5 are stepped"):
        making.environments("ALE/Pong-v5", vectorization="async").describe()


@pytest.mark.parametrize("given, expected", [(("auto", "auto"), ("machado", "minimal")), (("nature", "full"),) * 2])
def test_resolved_says_what_auto_stands_for(given, expected):
    asked = dict(zip(("atari_protocol", "atari_actions"), given, strict=True))
    assert making.environments("ALE/Pong-v5", **asked).resolved() == schema.Atari(*expected)
    assert making.environments("CartPole-v1", **asked).resolved() == schema.Atari(*given)


def test_environment_with_the_name_of_a_game_that_is_not_of_ale_is_no_game():
    pytest.importorskip("ale_py")
    assert making.environments("Blackjack-v1").describe().num_actions == 2


def test_make_for_pictures_draws_them(closing):
    made = closing(making.environments("FrozenLake-v1").make(2, render=False))
    assert made.num_envs == 2
    pytest.importorskip("pygame")
    drawing = closing(making.environments("CartPole-v1").make(2, render=True))
    drawing.reset(seeds(0, 1))
    pictures = drawing.render()
    assert len(pictures) == 2 and pictures[0].ndim == 3 and pictures[0].dtype == np.uint8


def test_describe_of_an_environment_of_gymnasium_counts_no_frames():
    assert making.environments("CartPole-v1").describe().frames_per_step is None


def test_describe_with_settings_of_atari_where_there_is_no_game_refuses_each():
    environments = making.environments("CartPole-v1", atari_protocol="machado", atari_actions="full")
    assert problems(environments.describe) == [
        "--atari_protocol=machado is for Atari games, and --env=CartPole-v1 is none; leave it out.",
        "--atari_actions=full is for Atari games, and --env=CartPole-v1 is none; leave it out.",
    ]


def test_command_with_settings_of_atari_where_there_is_no_game_ends_with_code_2(without_tensorflow, tmp_path):
    argv = ["--env=CartPole-v1", "--atari_protocol=nature", "--atari_actions=minimal", f"--logdir={tmp_path}/run"]
    process = runs.command(*argv, PYTHONPATH=without_tensorflow)
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr.splitlines() == [
        "--atari_protocol=nature is for Atari games, and --env=CartPole-v1 is none; leave it out.",
        "--atari_actions=minimal is for Atari games, and --env=CartPole-v1 is none; leave it out.",
    ]
    assert not (tmp_path / "run").exists()


# Games.


@pytest.mark.parametrize(
    "env_id, is_game",
    [
        ("ALE/Pong-v5", True),
        ("ale_py:ALE/Pong-v5", True),
        ("CartPole-v1", False),
        ("PongNoFrameskip-v4", False),
        ("my_module:Pong-v5", False),
        ("my_ALE/Pong-v5", False),
    ],
)
def test_is_atari_of_names_that_begin_with_ale(env_id, is_game):
    assert schema.is_atari(env_id) is is_game


@pytest.mark.parametrize("env_id", ["ALE/Pong-v5", "ale_py:ALE/Pong-v5"])
def test_make_of_a_game_plays_it_with_the_settings_of_the_factory_and_so_many_threads(closing, monkeypatch, env_id):
    vector_env = pytest.importorskip("ale_py.vector_env")
    given, make = [], vector_env.AtariVectorEnv
    monkeypatch.setattr(vector_env, "AtariVectorEnv", lambda *names, **k: (given.append(k), make(*names, **k))[1])
    environments = making.environments(env_id, atari_protocol="nature")
    made = closing(environments.make(2, num_threads=3))
    assert isinstance(made, atari.AtariEnvironment) and made.num_envs == 2
    assert made.spec == environments.describe()
    assert (made.spec.env_id, made.spec.frames_per_step) == (env_id, 4)
    assert (given[1]["num_threads"], given[1]["noop_max"]) == (3, 31)


def test_make_of_a_game_for_pictures_draws_them(closing):
    pytest.importorskip("ale_py")
    made = closing(making.environments("ALE/Pong-v5").make(1, render=True))
    made.reset(seeds(0))
    assert made.render()[0].shape == (210, 160, 3)


USE = (
    "is not the name of a game here; use --env=ALE/{}-v5, with --atari_protocol=nature for play without sticky actions."
)


@pytest.mark.parametrize(
    "env_id, line",
    [
        ("ALE/Breakot-v5", "is not a game of ALE; did you mean ALE/Breakout-v5 or ALE/BankHeist-v5?"),
        ("ale_py:ALE/SpaceInvader-v5", "is not a game of ALE; did you mean ALE/SpaceInvaders-v5 or ALE/SpaceWar-v5?"),
        ("ALE/Pong", USE.format("Pong")),
        ("ALE/Pong-ram-v5", USE.format("Pong")),
        ("PongNoFrameskip-v4", USE.format("Pong")),
        ("Breakout-v5", USE.format("Breakout")),
        ("space_invaders", USE.format("SpaceInvaders")),
    ],
)
def test_describe_of_a_name_that_is_nearly_a_games_names_that(env_id, line):
    pytest.importorskip("ale_py")
    assert problems(making.environments(env_id).describe) == [f"--env={env_id} {line}"]


def test_describe_of_a_game_that_there_is_not_says_how_many_there_are():
    pytest.importorskip("ale_py")
    (line,) = problems(making.environments("ALE/Qqq").describe)
    assert line.startswith("--env=ALE/Qqq is not a game of ALE; there are ")
    count = int(line.split("there are ")[1].split(",")[0])
    assert count > 100 and line.endswith(f"{count}, such as ALE/Breakout-v5; see ale.farama.org.")


def test_describe_of_a_name_that_is_far_from_any_game_answers_as_gymnasium(monkeypatch):
    assert problems(making.environments("CartPol-v1").describe) == [
        "--env=CartPol-v1 is not a registered environment; did you mean CartPole-v1 or CartPole-v0?"
    ]
    monkeypatch.setitem(sys.modules, "ale_py", None)  # as where it is not installed
    assert problems(making.environments("CartPol-v1").describe) == [
        "--env=CartPol-v1 is not a registered environment; did you mean CartPole-v1 or CartPole-v0?"
    ]


WITHOUT_ALE = (
    "--env=ALE/Pong-v5 needs ALE, the Arcade Learning Environment, which is not installed: pip install -e '.[atari]'"
)


def test_describe_and_make_of_a_game_without_ale_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ale_py", None)
    assert problems(making.environments("ALE/Pong-v5").describe) == [WITHOUT_ALE]
    assert problems(making.environments("ALE/Pong-v5").make, 1) == [WITHOUT_ALE]


def test_command_of_a_game_without_ale_ends_with_code_2(without_tensorflow, tmp_path):
    (tmp_path / "ale_py").mkdir()
    (tmp_path / "ale_py" / "__init__.py").write_text("raise ImportError('no ale_py')\n")
    argv = ["--env=ALE/Pong-v5", f"--logdir={tmp_path}/run"]
    process = runs.command(*argv, PYTHONPATH=f"{without_tensorflow}:{tmp_path}")
    assert (process.returncode, process.stdout, process.stderr) == (2, "", f"{WITHOUT_ALE}\n")
    assert not (tmp_path / "run").exists()


# Names of environments that will be made elsewhere.


@pytest.mark.parametrize(
    "env_id", ["CartPole-v1", "LunarLander-v3", "ALE/Pong-v5", "ale_py:ALE/Pong-v5", "no_such_module:Anything-v0"]
)
def test_check_name_takes_what_may_be_there(env_id):
    factory.check_name(env_id)


@pytest.mark.parametrize(
    "env_id, said",
    [
        ("CartPol-v1", "--env=CartPol-v1 is not a registered environment; did you mean CartPole-v1 or CartPole-v0?"),
        ("", "--env= names no environment; give one, such as --env=CartPole-v1."),
        ("my_module:", "--env=my_module: names no environment; give one, such as --env=my_module:EnvId."),
        (":CartPole-v1", "--env=:CartPole-v1 names no environment; give one, such as --env=CartPole-v1."),
    ],
)
def test_check_name_refuses_what_is_nowhere(env_id, said):
    assert problems(factory.check_name, env_id) == [said]


@pytest.mark.parametrize(
    "env_id, said", [("ALE/Pnog-v5", "is not a game of ALE; did you"), ("PongNoFrameskip-v4", "use --env=")]
)
def test_check_name_refuses_what_is_nearly_a_game(env_id, said):
    pytest.importorskip("ale_py")
    (line,) = problems(factory.check_name, env_id)
    assert line.startswith(f"--env={env_id} ") and said in line and "ALE/Pong-v5" in line


def test_check_name_where_ale_is_not_installed_takes_any_game(monkeypatch):
    find_spec = atari.importlib.util.find_spec
    monkeypatch.setattr(atari.importlib.util, "find_spec", lambda name: None if name == "ale_py" else find_spec(name))
    factory.check_name("ALE/NoSuchGame-v5")

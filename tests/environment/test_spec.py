"""Names of environments, and the modules that register them."""

import pytest

from dqn_tf.config import schema
from dqn_tf.environment import spec

GAMES = """
import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv as One

gymnasium.register("my/One-v0", entry_point="pkg_of_mine.games:One")
gymnasium.register("Übung", entry_point="pkg_of_mine.games:One")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Returns a directory with modules of a user's."""
    folder = tmp_path_factory.mktemp("spec")
    (folder / "pkg_of_mine").mkdir()
    (folder / "pkg_of_mine" / "__init__.py").write_text("")
    (folder / "pkg_of_mine" / "games.py").write_text(GAMES, encoding="utf-8")
    (folder / "leaves.py").write_text("import sys\nsys.exit(3)\n")
    (folder / "raises.py").write_text("class Odd(Exception): pass\nraise Odd('a\\nb')\n")
    (folder / "interrupts.py").write_text("raise KeyboardInterrupt\n")
    return folder


@pytest.fixture(autouse=True)
def _here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)


@pytest.mark.parametrize("env_id", ["pkg_of_mine.games:my/One-v0", "pkg_of_mine.games:Übung"])
def test_registered_of_a_module_is_what_it_registers(env_id):
    assert spec.registered(env_id).entry_point == "pkg_of_mine.games:One"


@pytest.mark.parametrize(
    "env_id, said",
    [
        ("pkg_of_mine.games.py:my/One-v0", "name the module, not its file: --env=pkg_of_mine.games:my/One-v0"),
        ("pkg_of_mine/games.py:my/One-v0", "name the module, not its file: --env=pkg_of_mine.games:my/One-v0"),
        ("pkg_of_mine.none:X", "pkg_of_mine is {}/pkg_of_mine/__init__.py"),
        ("pkg_of_mine.games:Game", "did you mean pkg_of_mine.games:my/One-v0 or pkg_of_mine.games:Übung?"),
        ("pkg_of_mine.games:Onee", "did you mean pkg_of_mine.games:One?"),
        ("pkg_of_mine.games:my/One-v0 ", "did you mean pkg_of_mine.games:my/One-v0?"),
        ("pkg_of_mine.games", "it is a module: name what it registers too, such as --env=pkg_of_mine.games:EnvId."),
        ("json:X", "importing json registers no environment, and it has no function X."),
        ("leaves:X", "SystemExit: 3; it ends the program where it is imported ({}/leaves.py, line 2)"),
        ("raises:X", "module raises cannot be imported: Odd: a b ({}/raises.py, line 2)"),
        (":X", "module  cannot be imported: ValueError: Empty module name"),
        ("CartPole", "did you mean CartPole-v1 or CartPole-v0?"),
    ],
)
def test_registered_of_a_name_that_is_none_says_so_in_one_line(folder, env_id, said):
    spec.registered("pkg_of_mine.games:my/One-v0")
    with pytest.raises(schema.ConfigError) as error:
        spec.registered(env_id)
    (line,) = error.value.problems
    assert line.startswith(f"--env={env_id}") and line.endswith(said.format(folder))


def test_registered_where_the_user_interrupts_is_interrupted():
    with pytest.raises(KeyboardInterrupt):
        spec.registered("interrupts:X")

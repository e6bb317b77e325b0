"""MinAtar's games by their own names: the package registers nothing by itself."""

import gymnasium
import pytest

from dqn_tf.config.schema import ConfigError, is_minatar
from dqn_tf.environment import factory, minatar
from tests import making


@pytest.fixture
def unregistered(monkeypatch):
    others = {name: entry for name, entry in gymnasium.registry.items() if not is_minatar(name)}
    monkeypatch.setattr(gymnasium.envs.registration, "registry", others)
    monkeypatch.setattr(gymnasium, "registry", others)


@pytest.mark.parametrize(
    "name, shape, actions",
    [
        ("MinAtar/Breakout-v0", (10, 10, 4), 6),
        ("MinAtar/Breakout-v1", (10, 10, 4), 3),
        ("MinAtar/Asterix-v1", (10, 10, 4), 5),
        ("MinAtar/Freeway-v1", (10, 10, 7), 3),
        ("MinAtar/Seaquest-v1", (10, 10, 10), 6),
        ("MinAtar/SpaceInvaders-v0", (10, 10, 6), 6),
    ],
)
def test_game_is_made_by_its_name(name, shape, actions, unregistered):
    described = making.environments(name).describe()
    assert (described.observation_shape, described.num_actions) == (shape, actions)


def test_game_that_there_is_not_is_one_line(unregistered):
    with pytest.raises(ConfigError, match="^--env=MinAtar/Breakot-v0 is not .* did you mean MinAtar/Break"):
        making.environments("MinAtar/Breakot-v0").describe()


def test_package_that_is_missing_is_one_line_with_the_command_that_installs_it(unregistered, monkeypatch):
    monkeypatch.setattr(minatar, "is_installed", lambda: False)
    with pytest.raises(ConfigError, match=r"^--env=MinAtar/Breakout-v0 needs .*: pip install -e '.\[minatar\]'$"):
        making.environments("MinAtar/Breakout-v0").describe()
    factory.check_name("MinAtar/Breakout-v0")  # for a job on a machine that may have it

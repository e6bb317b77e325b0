"""What is found before training: the environment works, or one line says what it gave."""

import sys
import textwrap

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from dqn_tf.config import schema
from dqn_tf.config.schema import JsonObject
from dqn_tf.environment import probe, spec, vector
from dqn_tf.environment.maker import Maker
from dqn_tf.persistence import archive, manifest, run_directory
from tests import making

BOX = spaces.Box(-1.0, 1.0, (2,), np.float32)


class Env(gymnasium.Env):
    """Gives what it is told to give; `log` has what is asked of it."""

    log: list = []

    def __init__(
        self, space=BOX, first=(0, 0), step=((0, 0), 1.0, False, False, {}), actions=spaces.Discrete(3, start=-1)
    ):
        self.observation_space, self.action_space, self._given = space, actions, (first, step)

    def reset(self, *, seed=None, options=None):
        self.log.append("reset")
        return self._given[0], {}

    def step(self, action):
        self.log.append(int(action))
        if isinstance(self._given[1], Exception):
            raise self._given[1]
        return self._given[1]

    def close(self):
        self.log.append("close")
        raise RuntimeError("the simulator is gone")


@pytest.fixture
def make(monkeypatch):
    """Returns a function that registers Env-v0 with keyword arguments and describes it."""

    def make(kwargs=schema.NO_KWARGS, **given):
        entry = gymnasium.envs.registration.EnvSpec("Env-v0", entry_point=Env, kwargs=given)
        monkeypatch.setitem(gymnasium.registry, "Env-v0", entry)
        monkeypatch.setattr(Env, "log", [])
        monkeypatch.setitem(sys.modules, "tensorflow", None)  # no process of its own
        return probe.describe(Maker("Env-v0", kwargs))

    return make


def problem(function, *args, **kwargs):
    with pytest.raises(schema.ConfigError) as error:
        function(*args, **kwargs)
    (line,) = error.value.problems
    return line


def test_describe_resets_once_steps_with_the_first_and_the_last_action_and_closes(make, caplog):
    made = make()
    assert Env.log == ["reset", -1, 1, "close"]
    assert (made.action_space, made.observation_shape) == (spaces.Discrete(3, start=-1), (2,))
    assert caplog.text == ""


@pytest.mark.parametrize(
    "given, line",
    [
        ({"first": (0, 0, 0)}, "episode 0, step 0: reset returned an observation of shape (3,), its space has (2,)"),
        ({"step": ((0, 0), None, False, False, {})}, "episode 0, step 1: step returned the reward None (NoneType), "),
        ({"step": ((0, 0), 1.0, False, {})}, "episode 0, step 1: step returned ((0, 0), 1.0, False, {}) (tuple) "),
    ],
)
def test_describe_of_an_environment_that_gives_what_it_should_not_names_value_and_type(make, given, line):
    assert f"--env=Env-v0: environment 0, {line}" in problem(make, **given)
    assert Env.log[-1] == "close"


def test_describe_of_an_environment_that_raises_says_where_in_its_code(make):
    line = problem(make, step=RuntimeError("no\nlevel"))
    assert "step 1: step raised RuntimeError: no level (" in line
    assert line.rpartition(" (")[2].startswith(f"{__file__}, line ")


def test_describe_with_kwargs_that_the_environment_does_not_know_says_which_and_what_it_said(make):
    line = problem(make, JsonObject('{"level": 3}'))
    assert line.startswith('--env=Env-v0 with --env_kwargs={"level": 3} cannot be made: TypeError: ')
    assert "unexpected keyword argument 'level'" in line


def test_describe_of_an_observation_outside_of_its_bounds_warns_once(make, caplog):
    make(first=(0.5, 2.5))
    assert [record.getMessage() for record in caplog.records] == [
        "--env=Env-v0 gave an observation with np.float32(2.5) at [1], outside of its space: -1.0 to 1.0"
    ]


@pytest.mark.parametrize("space", [spaces.Box(0, 0, (2,), np.uint8), spaces.Box(1, 1, (2,), np.float32)])
def test_describe_of_a_space_without_range_warns(make, caplog, space):
    make(space=space, first=space.high, step=(space.high, 1.0, False, False, {}))
    assert "has an observation space that holds a single observation" in caplog.text


@pytest.mark.parametrize("space", [spaces.Dict({}), spaces.Box(0, 1, (0,), np.float32), spaces.Tuple(())])
def test_describe_of_a_space_without_a_number_is_refused(make, space):
    assert "without a single number, and DQN needs something to see" in problem(make, space=space)


def test_describe_of_a_space_of_another_package_says_so(make):
    class Old:
        n = 2

    assert "has an action space " in problem(make, actions=Old()) and "not gymnasium's" in problem(make, actions=Old())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no process of its own")
@pytest.mark.parametrize(
    "body, line",
    [
        ("pass", ""),
        ("os._exit(3)", "--env=lone:Lone-v0 ended the process that made it, with exit code 3."),
        ("os.kill(os.getpid(), 9)", "--env=lone:Lone-v0 ended the process that made it, by signal 9."),
        ("sys.exit('no licence')", "--env=lone:Lone-v0 cannot be made: SystemExit: no licence ("),
    ],
)
def test_describe_before_tensorflow_is_there_leaves_nothing_of_the_environment_here(monkeypatch, tmp_path, body, line):
    (tmp_path / "lone.py").write_text(
        textwrap.dedent(
            f"""\
            import os, sys, gymnasium
            from gymnasium.envs.classic_control import cartpole
            class Lone(cartpole.CartPoleEnv):
                def __init__(self):
                    {body}
                    super().__init__()
            gymnasium.register("Lone-v0", Lone)
            """
        )
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    if line:
        assert problem(probe.describe, Maker("lone:Lone-v0")).startswith(line)
    else:
        assert probe.describe(Maker("lone:Lone-v0")).observation_shape == (4,)
    assert "lone" not in sys.modules and "Lone-v0" not in gymnasium.registry


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no process of its own")
def test_describe_of_an_environment_that_takes_long_says_so(monkeypatch, tmp_path, caplog):
    (tmp_path / "slow.py").write_text(
        "import gymnasium, time\n"
        "def make(**_):\n"
        "    time.sleep(0.5)\n"
        "    return gymnasium.make('CartPole-v1').unwrapped\n"
        "gymnasium.register('Slow-v0', make)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.setattr(probe, "_REPORT_SECONDS", 0.1)
    with caplog.at_level("INFO", "dqn_tf"):
        probe.describe(Maker("slow:Slow-v0"))
    assert caplog.records[0].getMessage() == "waiting for --env=slow:Slow-v0 to be made and stepped, since 0 s"


def test_environments_are_made_with_the_kwargs_of_the_factory():
    kwargs = JsonObject('{"map_name": "8x8", "max_episode_steps": 9}')
    made = making.environments("FrozenLake-v1", env_kwargs=kwargs).make(2)
    made.close()
    assert (made.spec.observation_shape, made.spec.max_episode_steps) == ((64,), 9)
    endless = Maker("FrozenLake-v1", JsonObject('{"max_episode_steps": -1}'))
    assert vector.describe(endless).max_episode_steps is None


def test_factory_of_a_game_takes_no_kwargs():
    pytest.importorskip("ale_py")
    line = problem(making.environments("ALE/Pong-v5", env_kwargs=JsonObject('{"a": 1}')).describe)
    assert line.startswith('--env_kwargs={"a": 1}: games such as --env=ALE/Pong-v5 take none')


@pytest.mark.parametrize("change", [{"space": spaces.Box(-1, 1, (3,), np.float32)}, {"actions": spaces.Discrete(4)}])
def test_check_environment_of_a_checkpoint_of_other_spaces_names_both(make, tmp_path, change):
    run = run_directory.RunDirectory(str(tmp_path))
    run.check_environment(make())
    file = archive.File("f", 1, "0" * 64)
    told = {"config": {"run": {"env": "Env-v0"}}, "versions": {}, "environment": make().spaces()}
    worker = manifest.WorkerPart(file, 0, ())
    made = manifest.Manifest(80, {"env_steps": 80}, (file,), (worker,), {}, **told)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest, "newest_readable", lambda root: made)
        run.check_environment(make())
        seen = (0,) * change.get("space", BOX).shape[0]
        other = make(first=seen, step=(seen, 1.0, False, False, {}), **change)
        line = problem(run.check_environment, other)
    kind = "observations" if "space" in change else "actions"
    now, then = other.spaces()[kind], make().spaces()[kind]
    assert line == (
        f"--env=Env-v0 has other {kind} than the run in {tmp_path}: {now} now, {then} then; "
        "use a new --logdir or the environment as it was."
    )


@pytest.mark.parametrize(
    "space, words",
    [
        (spaces.Box(-1, 1, (3,), np.float32), "Box([3], float32)"),
        (spaces.Box(0, 9, (2, 2), np.uint8), "Box([2, 2], uint8 up to 9)"),
        (spaces.Discrete(3, start=2), "Discrete(3, start=2)"),
        (
            spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Tuple([BOX])}),
            "Dict('a': Discrete(2), 'b': Tuple(Box([2], float32)))",
        ),
    ],
)
def test_spaces_in_words_have_all_that_a_network_depends_on(space, words):
    actions = spaces.Discrete(2, start=1)
    made = spec.EnvironmentSpec("Env-v0", space, (3,), np.dtype(np.float32), actions, None, None)
    assert made.spaces() == {"observations": words, "actions": "Discrete(2, start=1)"}

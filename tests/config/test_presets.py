"""Named settings."""

import pytest

from dqn_tf.config import flags, presets, schema, settings
from dqn_tf.process import hardware
from dqn_tf.training import plan
from tests import making


@pytest.fixture
def known(monkeypatch):
    """Puts presets of known values in place of the tuned ones."""
    steps = {"general": 2, "classic": 1, "pole": 3, "atari": 4}
    named = {"none": {}, **{name: {"n_step": number} for name, number in steps.items()}}
    monkeypatch.setattr(presets, "PRESETS", named)
    monkeypatch.setattr(presets, "_BY_ENVIRONMENT", {"Pole": "pole"})
    monkeypatch.setattr(presets, "ALGORITHMS", {})


@pytest.mark.parametrize(
    "name, env, values",
    [
        ("classic", "CartPole-v1", {"n_step": 1}),
        ("classic", "Pole-v0", {"n_step": 1}),
        ("none", "Pole-v0", {}),
        ("auto", "Pole-v0", {"n_step": 3}),
        ("auto", "Pole-v7", {"n_step": 3}),
        ("auto", "Pole", {"n_step": 3}),
        ("auto", "PoleBalance-v0", {"n_step": 2}),
        ("auto", "CartPole-v1", {"n_step": 2}),
        ("auto", "ALE/Pong-v5", {"n_step": 4}),
        ("auto", "ALE/NoSuchGame-v7", {"n_step": 4}),
        ("auto", "ale_py:ALE/Breakout-v5", {"n_step": 4}),
        ("auto", "my_ale:Pong-v5", {"n_step": 2}),
        ("atari", "CartPole-v1", {"n_step": 4}),
    ],
)
def test_find_returns_the_named_preset_or_that_of_the_environment(known, name, env, values):
    assert presets.find(name, env) == values


@pytest.mark.parametrize(
    "name, line",
    [
        ("clasic", "--preset=clasic must be one of auto, none, general, classic, pole, atari; did you mean classic?"),
        ("xyz", "--preset=xyz must be one of auto, none, general, classic, pole, atari."),
        ("", "--preset= must be one of auto, none, general, classic, pole, atari."),
    ],
)
def test_find_where_there_is_no_such_preset_names_all_and_the_nearest(known, name, line):
    with pytest.raises(schema.ConfigError) as error:
        presets.find(name, "CartPole-v1")
    assert error.value.problems == (line,)


@pytest.mark.parametrize("name", presets.PRESETS)
def test_presets_hold_values_of_the_right_types_in_range(name):
    preset = presets.PRESETS[name]
    assert {key: settings.SETTINGS[key].parse(value) for key, value in preset.items()} == preset
    assert {key: type(value) for key, value in preset.items()} == {
        key: type(settings.SETTINGS[key].parse(value)) for key, value in preset.items()
    }


@pytest.mark.parametrize("name", presets.PRESETS)
def test_presets_contradict_nothing_and_divide_between_two_workers(name):
    built = settings.build(dict(presets.PRESETS[name]))
    assert schema.check(built) + schema.check_division(built, 2, 1) == []


# What takes a preset by itself; those that none takes are for any environment.
ENVIRONMENTS = dict.fromkeys(presets.PRESETS, "CartPole-v1")
ENVIRONMENTS |= {"atari": "ALE/Pong-v5", "minatar": "MinAtar/Breakout-v0"}


@pytest.mark.parametrize("name", presets.PRESETS)
def test_presets_are_valid_with_their_environment(monkeypatch, tmp_path, name):
    env = ENVIRONMENTS[name]
    if env.startswith("ALE/"):
        pytest.importorskip("ale_py")
    if env.startswith("MinAtar/"):
        pytest.importorskip("minatar")
    monkeypatch.setattr(hardware, "available_memory", lambda: 16 * 10**9)
    argv = ["train.py", f"--preset={name}", f"--env={env}", f"--logdir={tmp_path}/run"]
    built, problems = flags.parse(argv)
    assert problems == []
    for values in ({}, {"strategy": "mirrored"}, {"strategy": "multiworker"}):
        with_strategy = settings.build({**settings.values_of(built), **values})
        made = plan.make(with_strategy, [], {"CUDA_VISIBLE_DEVICES": "-1"}, 0.0)
        made.directory.release()
        assert made.spec == making.environments(env).describe()
    chosen = {"atari": "nature_cnn", "minatar": "minatar_cnn"}.get(name, "mlp")
    assert made.architecture.name == chosen


def test_preset_that_an_atari_game_takes_learns_from_clipped_rewards_and_reports_frames_of_four():
    built, problems = flags.parse(["train.py", "--env=ALE/Pong-v5"])
    assert problems == []
    assert built == settings.build({"env": "ALE/Pong-v5", **presets.PRESETS["atari"]})
    assert (built.learning.reward_clip, built.learning.optimizer_epsilon) == (1.0, 1.5e-4)
    # Dopamine's, in frames: 80,000 before learning, a target every 32,000, epsilon falls over 1,000,000.
    training, learning, exploration = built.training, built.learning, built.exploration
    assert training.learning_starts * 4 == 80_000
    assert learning.target_update_period / training.replay_ratio * 4 == 32_000
    assert exploration.epsilon_decay_env_steps * 4 == 1_000_000


def test_taken_by_names_the_environments_of_a_preset():
    assert presets.taken_by("cartpole") == " (auto for CartPole)"
    assert presets.taken_by("atari") == " (auto for ALE/...)"
    assert presets.taken_by("classic") == ""


def test_presets_of_environments_exist():
    assert set(presets._BY_ENVIRONMENT.values()) <= set(presets.PRESETS)


def test_presets_say_nothing_of_what_is_run_or_where():
    sections = {settings.SETTINGS[key].section for preset in presets.PRESETS.values() for key in preset}
    assert not sections & {"run", "cluster"}


@pytest.mark.parametrize("env", ["CartPole-v1", "ALE/Pong-v5"])
@pytest.mark.parametrize("name", presets.ALGORITHMS)
def test_algorithms_change_the_preset_of_the_environment_and_fit_together(name, env):
    algorithm, found = presets.ALGORITHMS[name], presets.find(name, env)
    assert {key: settings.SETTINGS[key].parse(value) for key, value in found.items()} == found
    used = algorithm.parts if env == "CartPole-v1" else {**algorithm.parts, **algorithm.games}
    assert found == {**presets.find("auto", env), **used}
    assert presets.left_out(name, env) == (algorithm.games if env == "CartPole-v1" else {})
    assert schema.check(settings.build({"env": env, "preset": name, **found})) == []


def test_preset_of_games_on_a_gpu_plays_more_of_them_at_once_and_nothing_else_changes():
    built, problems = flags.parse(["train.py", "--env=ALE/Pong-v5"], has_gpu=True)
    assert problems == []
    assert built == settings.build({"env": "ALE/Pong-v5", **presets.PRESETS["atari"], "num_envs": 32})
    assert presets.of_gpu("auto", "ALE/Pong-v5") == {"num_envs": (8, 32)}
    assert presets.of_gpu("btr", "ALE/Pong-v5") == presets.of_gpu("auto", "CartPole-v1") == {}


@pytest.mark.parametrize(
    ("argv", "num_envs"),
    [
        (["--num_envs=8"], 8),  # as the log of a machine without a GPU says
        (["--round_env_steps=40"], 8),  # which 32 do not divide
        (["--round_env_steps=64"], 32),
        (["--preset=rainbow"], 32),
        (["--preset=btr"], 64),
    ],
)
def test_preset_of_games_on_a_gpu_gives_way_to_what_is_given(argv, num_envs):
    built, problems = flags.parse(["train.py", "--env=ALE/Pong-v5", *argv], has_gpu=True)
    assert problems == []
    assert built.training.num_envs == num_envs


def test_mistake_of_a_user_is_told_on_a_gpu_as_without_one():
    argv = ["train.py", "--env=ALE/Pong-v5", "--round_env_steps=12"]
    assert flags.parse(argv, has_gpu=True)[1] == flags.parse(argv)[1] != []


# What contradicts a setting that some environment takes by itself.
GIVEN = [
    *[[f"--preset={name}"] for name in presets.ALGORITHMS],
    ["--network=my:network"],
    ["--loss=my:loss"],
    ["--loss=squared"],
    ["--num_critics=2"],
    ["--munchausen"],
    ["--head=categorical"],
    ["--head=expected"],
    ["--exploration=boltzmann"],
    ["--exploration=linear_epsilon"],
    ["--replay=uniform"],
    ["--num_envs=20", "--round_env_steps=40"],
]


@pytest.mark.parametrize("name", [name for name in presets.PRESETS if presets.taken_by(name)])
def test_preset_that_an_environment_takes_gives_way_to_whatever_is_given(name):
    env = {"atari": "ALE/Pong-v5", "minatar": "MinAtar/Breakout-v0", "general": "My-v0"}.get(name, "")
    env = env or next(env for env, preset in presets._BY_ENVIRONMENT.items() if preset == name)
    assert presets.automatic(env) == name
    for argv in GIVEN:
        built, problems = flags.parse(["train.py", f"--env={env}", *argv])
        assert problems == [], argv
        given = flags.typed(["train.py", *argv])
        assert given.items() <= settings.values_of(built).items()


def test_preset_that_gives_way_loses_nothing_else_and_one_that_is_asked_for_does_not(monkeypatch):
    tuned = {"normalization": "layer", "normalize_observations": True, "n_step": 2}
    monkeypatch.setattr(presets, "PRESETS", {"general": tuned})
    own, problems = flags.parse(["train.py", "--env=My-v0", "--network=my:network"])
    assert (problems, own.network.normalization, own.network.normalize_observations) == ([], "none", False)
    assert own.learning.n_step == 2
    problems = flags.parse(["train.py", "--env=My-v0", "--network=my:network", "--preset=general"])[1]
    assert [line.split(":")[0] for line in problems] == ["--normalize_observations", "--normalization=layer"]

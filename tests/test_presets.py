"""Named settings."""

import pytest

from dqn_tf import config, presets, settings


@pytest.fixture
def known(monkeypatch):
    """Puts presets of known values in place of the tuned ones."""
    monkeypatch.setattr(presets, "PRESETS", {"none": {}, "classic": {"n_step": 1}, "pong": {"n_step": 3}})
    monkeypatch.setattr(presets, "_BY_ENVIRONMENT", {"ALE/Pong-v5": "pong"})


@pytest.mark.parametrize(
    "name, env, values",
    [
        ("classic", "CartPole-v1", {"n_step": 1}),
        ("classic", "ALE/Pong-v5", {"n_step": 1}),
        ("none", "ALE/Pong-v5", {}),
        ("auto", "ALE/Pong-v5", {"n_step": 3}),
        ("auto", "CartPole-v1", {}),
    ],
)
def test_find_returns_the_named_preset_or_that_of_the_environment(known, name, env, values):
    assert presets.find(name, env) == values


@pytest.mark.parametrize(
    "name, line",
    [
        ("clasic", "--preset=clasic must be one of auto, none, classic, pong; did you mean classic?"),
        ("xyz", "--preset=xyz must be one of auto, none, classic, pong."),
        ("", "--preset= must be one of auto, none, classic, pong."),
    ],
)
def test_find_where_there_is_no_such_preset_names_all_and_the_nearest(known, name, line):
    with pytest.raises(config.ConfigError) as error:
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
    assert config.check(built) + config.check_division(built, 2, 1) == []


def test_presets_of_environments_exist():
    assert set(presets._BY_ENVIRONMENT.values()) <= set(presets.PRESETS)


def test_presets_say_nothing_of_what_is_run_or_where():
    sections = {settings.SETTINGS[key].section for preset in presets.PRESETS.values() for key in preset}
    assert not sections & {"run", "cluster"}

"""Text and JSON to typed values, and a whole Config to and from JSON."""

import dataclasses
import json
import math

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dqn_tf.config import schema, settings

SETTINGS = settings.SETTINGS
JSON = schema.JsonObject

# A busy machine is no failure.
ANY = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
jsons = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
trees = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)


def problem(name, value):
    """Returns what is said of a value that is refused."""
    with pytest.raises(schema.ConfigError) as error:
        SETTINGS[name].parse(value)
    (line,) = error.value.problems
    return line


@pytest.mark.parametrize(
    "name, value, expected",
    [
        ("env", "my_module:Env-v0", "my_module:Env-v0"),
        ("env_kwargs", "", JSON("{}")),
        ("env_kwargs", ' {"map_name": "8x8", "ü": [1, null]} ', JSON('{"map_name": "8x8", "\\u00fc": [1, null]}')),
        ("env_kwargs", "{'is_slippery': False}", JSON('{"is_slippery": false}')),
        ("seed", "7", 7),
        ("seed", " 7 ", 7),
        ("seed", 7.0, 7),
        ("seed", "2147483647", 2**31 - 1),
        ("train_env_steps", "1e5", 100_000),
        ("train_env_steps", "2.5e3", 2500),
        ("train_env_steps", "9007199254740991", 2**53 - 1),
        ("learning_rate", "1e-3", 0.001),
        ("learning_rate", 1, 1.0),
        ("overlap", "True", True),
        ("overlap", "false", False),
        ("overlap", "1", True),
        ("overlap", True, True),
        ("hidden_units", "64,64", (64, 64)),
        ("hidden_units", "[64, 64]", (64, 64)),
        ("hidden_units", "(120, 84)", (120, 84)),
        ("hidden_units", "512,", (512,)),
        ("hidden_units", "", ()),
        ("hidden_units", (64.0,), (64,)),
        ("task_index", "0", 0),
        ("task_index", None, None),
        ("task_type", "", ""),
        ("optimizer", "rmsprop", "rmsprop"),
    ],
)
def test_parse_of_an_allowed_value_returns_its_type(name, value, expected):
    parsed = SETTINGS[name].parse(value)
    assert (parsed, type(parsed)) == (expected, type(expected))


@pytest.mark.parametrize(
    "name, value, line",
    [
        ("seed", "-1", "--seed=-1 must be a whole number from 0 to 2147483647."),
        ("seed", "1.5", "--seed=1.5 must be a whole number from 0 to 2147483647."),
        ("seed", "", "--seed= must be a whole number from 0 to 2147483647."),
        ("seed", True, "--seed=true must be a whole number from 0 to 2147483647."),
        ("seed", [1], "--seed=1 must be a whole number from 0 to 2147483647."),
        ("train_env_steps", "ten", "--train_env_steps=ten must be a whole number of at least 1."),
        ("train_env_steps", "1e400", "--train_env_steps=1e400 must be a whole number of at least 1."),
        (
            "train_env_steps",
            "9007199254740992",
            "--train_env_steps=9007199254740992 must be a whole number of at least 1.",
        ),
        ("eval_period", "-5", "--eval_period=-5 must be a whole number of at least 0."),
        ("learning_rate", "-0.1", "--learning_rate=-0.1 must be a number of at least 0."),
        ("learning_rate", "nan", "--learning_rate=nan must be a number of at least 0."),
        ("learning_rate", True, "--learning_rate=true must be a number of at least 0."),
        ("discount", "1.01", "--discount=1.01 must be a number from 0 to 1."),
        ("overlap", "yes", "--overlap=yes must be true or false."),
        ("overlap", "", "--overlap= must be true or false."),
        (
            "hidden_units",
            "64,big",
            "--hidden_units=64,big must be whole numbers separated by commas, each of at least 1.",
        ),
        ("hidden_units", "64,0", "--hidden_units=64,0 must be whole numbers separated by commas, each of at least 1."),
        (
            "hidden_units",
            {"64": 1},
            "--hidden_units={\"64\": 1} must be whole numbers separated by commas, each of at least 1.",
        ),
        ("env", 7, "--env=7 must be text."),
        ("task_index", "-1", "--task_index=-1 must be a whole number of at least 0."),
        (
            "optimizer",
            "adm",
            f"--optimizer=adm must be one of {', '.join(schema.OPTIMIZERS)}; did you mean adam?",
        ),
        (
            "activation",
            "zzz",
            f"--activation=zzz must be one of {', '.join(schema.ACTIVATIONS)}.",
        ),
        ("resume", "", "--resume= must be one of auto, never, must."),
    ],
)
def test_parse_of_another_value_says_what_was_given_and_what_is_allowed(name, value, line):
    assert problem(name, value) == line


def test_parse_of_every_choice_and_default_as_it_is_written_returns_it():
    for name, setting in SETTINGS.items():
        choices, default = setting.field.metadata["choices"], setting.field.default
        assert tuple(map(setting.parse, choices)) == choices, name
        assert default is None or setting.parse(settings.to_text(default)) == default, name


def test_parse_of_the_limits_returns_them_and_beyond_refuses():
    for name, setting in SETTINGS.items():
        limits, is_float = setting.field.metadata, setting.field.type is float
        for limit, direction in ((limits["minimum"], -1), (limits["maximum"], 1)):
            if limit is not None:
                beyond = math.nextafter(limit, direction * math.inf) if is_float else limit + direction
                assert setting.parse(str(limit)) in (limit, (limit,)), name
                assert problem(name, str(beyond)).startswith(f"--{name}={beyond} must be ")


@ANY
@given(st.sampled_from(list(SETTINGS.values())), trees)
@hypothesis.example(SETTINGS["env_kwargs"], {})
def test_parse_of_any_value_returns_the_type_or_says_one_line(setting, value):
    types = {bool: bool, int: int, float: float, str: str, int | None: int | None, float | None: float | None}
    types |= {tuple[int, ...]: tuple, tuple[str, ...]: tuple, schema.JsonObject: schema.JsonObject}
    try:
        parsed = setting.parse(value)
    except schema.ConfigError as error:
        (line,) = error.problems
        assert line.startswith(f"--{setting.name}=") and len(line.splitlines()) == 1
    else:
        assert isinstance(parsed, types[setting.field.type])
        assert isinstance(parsed, bool) == (setting.field.type is bool)
        assert setting.parse(parsed) == parsed


@pytest.mark.parametrize(
    "value, text",
    [((64, 32), "64,32"), ([64], "64"), ((), ""), (True, "true"), (0.001, "0.001"), (5, "5"), ("a b", "a b")],
)
def test_to_text_writes_as_on_the_command_line(value, text):
    assert settings.to_text(value) == text


@pytest.mark.parametrize("name", ["logdir", "tf_config"])
def test_parse_of_a_path_knows_the_home_directory_and_refuses_what_is_not_utf_8(monkeypatch, name):
    monkeypatch.setenv("HOME", "/home/me")
    assert SETTINGS[name].parse("~/x") == "/home/me/x"
    assert problem(name, "caf\udce9") == f"--{name}=caf\\udce9 must be UTF-8, as all names of files here."


def test_parse_all_with_several_mistakes_returns_the_rest_and_every_line():
    parsed, problems = settings.parse_all({"seed": "-1", "n_step": "3", "discount": "2", "env": "X-v0"})
    assert parsed == {"n_step": 3, "env": "X-v0"}
    assert problems == [
        "--seed=-1 must be a whole number from 0 to 2147483647.",
        "--discount=2 must be a number from 0 to 1.",
    ]


def test_settings_names_are_unique_over_sections():
    names = [leaf.name for branch in dataclasses.fields(schema.Config) for leaf in dataclasses.fields(branch.type)]
    assert sorted(names) == sorted(SETTINGS)


def test_settings_have_a_help_text_without_a_full_stop():
    assert [
        s.name for s in SETTINGS.values() if not s.field.metadata["help"] or s.field.metadata["help"][-1] == "."
    ] == []


def test_build_puts_each_value_into_its_section_and_defaults_elsewhere():
    built = settings.build({"seed": 5, "hidden_units": (8,), "overlap": False})
    assert built == schema.Config(
        run=schema.RunSettings(seed=5),
        network=schema.Network(hidden_units=(8,)),
        training=schema.Training(overlap=False),
    )


LEARNING = ("learning", "exploration", "communication")


def test_sections_of_version_0_1_are_read():
    tree = {"agent": {"n_step": 5, "epsilon_final": 0.5, "average_period": 2}}
    assert settings.from_json(tree, "c.json") == ({"n_step": 5, "epsilon_final": 0.5, "average_period": 2}, [])
    assert [settings.stored(tree, section) for section in LEARNING] == [tree["agent"]] * 3
    assert settings.from_json({"agent": {"batch_size": 5}}, "c.json")[1]


def test_to_json_holds_what_the_run_is_and_not_where():
    tree = settings.to_json(schema.Config(run=schema.RunSettings(logdir="/somewhere", config="c.json")))
    leaves = {name for section in tree.values() for name in section}
    places = {"logdir", "model_dir", "tensorboard_dir"}
    others = {"config", "resume", "tf_config", "task_type", "task_index", "evaluated_by"}
    assert set(SETTINGS) - leaves == places | others
    assert tree["run"] == {"env": "CartPole-v1", "env_kwargs": {}, "wrapper": [], "preset": "auto", "seed": 0}
    first, last = ("run", "cluster", "training", "replay", "atari", "network"), ("evaluation", "hardware")
    assert list(tree) == [*first, *LEARNING, *last]


def test_from_json_of_to_json_through_text_returns_the_value():
    others = {
        int: 13,
        float: 0.3125,
        float | None: 0.3125,
        schema.JsonObject: schema.JsonObject('{"a": [1.5, null]}'),
        tuple[int, ...]: (7, 9),
        tuple[str, ...]: ("module:One", "module:Other"),
    }
    for setting in (one for one in SETTINGS.values() if one.is_stored):
        other = others.get(setting.field.type, (setting.field.metadata["choices"] or ("other",))[-1])
        other = not setting.field.default if setting.field.type is bool else other
        other = -other if setting.field.metadata["maximum"] == 0 else other
        built = settings.build({setting.name: other})
        values, problems = settings.from_json(json.loads(json.dumps(settings.to_json(built))), "c.json")
        assert problems == []
        assert (values[setting.name], type(values[setting.name])) == (other, type(other))
        assert settings.build(values) == built


def test_from_json_of_some_settings_returns_only_these():
    tree = {"learning": {"n_step": 3}, "network": {"hidden_units": [16]}, "hardware": {}}
    assert settings.from_json(tree, "c.json") == ({"n_step": 3, "hidden_units": (16,)}, [])


@pytest.mark.parametrize("tree", [None, [{}], {"run": {"seed": 1}, "learning": []}])
def test_from_json_of_something_else_says_what_a_file_must_hold(tree):
    line = "c.json must hold a JSON object of sections, as the config.json of a run does."
    assert settings.from_json(tree, "c.json") == ({}, [line])


@pytest.mark.parametrize(
    "section, name, hint",
    [
        ("learning", "n_steps", "; did you mean learning.n_step?"),
        ("agents", "n_step", "; did you mean learning.n_step?"),
        ("training", "n_step", "; did you mean learning.n_step?"),
        ("zzz", "qqq", "."),
    ],
)
def test_from_json_of_an_unknown_setting_names_the_nearest(section, name, hint):
    values, problems = settings.from_json({section: {name: 3}, "run": {"seed": 4}}, "c.json")
    assert values == {"seed": 4}
    assert problems == [f"c.json has an unknown setting {section}.{name}{hint}"]


@pytest.mark.parametrize(
    "section, name, value",
    [
        ("run", "logdir", "runs/other"),
        ("cluster", "task_index", 1),
    ],
)
def test_from_json_of_a_place_refuses_it(section, name, value):
    values, problems = settings.from_json({section: {name: value}}, "c.json")
    line = f"c.json has an unknown setting {section}.{name}; it says where a run is, not what: give --{name}."
    assert (values, problems) == ({}, [line])


def test_from_json_with_several_mistakes_tells_all():
    tree = {"learning": {"n_step": 0, "discount": 2, "discunt": 1}, "run": {"env": 7}}
    values, problems = settings.from_json(tree, "c.json")
    assert values == {}
    assert sorted(problems) == [
        "c.json has an unknown setting learning.discunt; did you mean learning.discount?",
        "c.json: --discount=2 must be a number from 0 to 1.",
        "c.json: --env=7 must be text.",
        "c.json: --n_step=0 must be a whole number of at least 1.",
    ]


leaves = st.dictionaries(st.sampled_from(sorted(SETTINGS)) | st.text(), trees)
sections = st.sampled_from([branch.name for branch in dataclasses.fields(schema.Config)]) | st.text()


@pytest.mark.thorough
@ANY
@given(trees | st.dictionaries(sections, leaves))
def test_from_json_of_any_value_gives_a_config_or_one_line_problems(tree):
    values, problems = settings.from_json(tree, "c.json")
    lines = schema.ConfigError(*problems).problems
    assert all(len(line.splitlines()) == 1 for line in lines)
    built = settings.build(values)
    assert all(isinstance(line, str) for line in schema.check(built))
    assert settings.from_json(settings.to_json(built), "c.json")[1] == []


def values_of(setting):
    """Returns the strategy of a setting's allowed values."""
    limits = setting.field.metadata
    if limits["choices"]:
        return st.sampled_from(limits["choices"])
    numbers = st.floats(limits["minimum"], limits["maximum"], allow_infinity=False, allow_nan=False)
    return {
        bool: st.booleans(),
        int: st.integers(limits["minimum"], limits["maximum"] or 2**53 - 1),
        float: numbers,
        float | None: st.none() | numbers,
        str: st.text(),
        schema.JsonObject: st.dictionaries(st.text(), jsons).map(json.dumps).map(schema.JsonObject),
        tuple[int, ...]: st.lists(st.integers(limits["minimum"] or 0, 4096)).map(tuple),
        tuple[str, ...]: st.lists(st.sampled_from(["module:One", "package.module:Other"])).map(tuple),
    }[setting.field.type]


@ANY
@given(st.data())
def test_from_json_of_any_typed_values_returns_them(data):
    stored = st.sampled_from([setting for setting in SETTINGS.values() if setting.is_stored])
    drawn = data.draw(st.lists(stored, unique_by=lambda setting: setting.name))
    built = settings.build({setting.name: data.draw(values_of(setting)) for setting in drawn})
    read, problems = settings.from_json(json.loads(json.dumps(settings.to_json(built))), "c.json")
    assert (settings.build(read), problems) == (built, [])


@pytest.mark.parametrize("name, text, value", [("jit_compile", "False", "false"), ("strategy", "MirroreD", "mirrored")])
def test_parse_of_a_choice_knows_no_case_because_platforms_change_it(name, text, value):
    assert settings.SETTINGS[name].parse(text) == value


@pytest.mark.parametrize(
    "text",
    ["is_slippery:False", "[1]", '{"a": NaN}', '{"a": 1, "a": 2}', "{1: 2}", "[" * 100_000, "{'a': open('x')}"],
)
def test_env_kwargs_that_are_no_json_object_are_refused_in_one_line(text):
    assert problem("env_kwargs", text) == f'--env_kwargs={text} must be a JSON object, such as {{"name": 8}}.'


def test_env_kwargs_are_an_object_in_config_json_and_come_back_from_it():
    made = settings.build({"env_kwargs": SETTINGS["env_kwargs"].parse('{"map_name": "8x8"}')})
    tree = json.loads(json.dumps(settings.to_json(made)))
    assert tree["run"]["env_kwargs"] == {"map_name": "8x8"}
    values, problems = settings.from_json(tree, "config.json")
    assert not problems and settings.build(values) == made and made.run.env_kwargs.tree == {"map_name": "8x8"}

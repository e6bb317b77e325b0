"""The command line: the frozen set of flags, precedence, every mistake at once, --help."""

import dataclasses
import json
import pathlib
import textwrap

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dqn_tf.config import flags, presets, schema, settings

# Others rely on these names, defaults and allowed values; a change of one belongs here too, and in docs/CHANGELOG.md.
FLAGS = """
run:
  env=CartPole-v1: text
  env_kwargs={}: a JSON object, such as {"name": 8}
  wrapper=: module:Class, or several separated by commas
  preset=auto: text
  seed=0: a whole number from 0 to 2147483647
  config=: text
  logdir=: text
  model_dir=: text
  tensorboard_dir=: text
  resume=auto: one of auto, never, must
cluster:
  strategy=default: one of default, mirrored, multiworker
  num_workers=2: a whole number from 1 to 512
  num_replicas=0: a whole number from 0 to 64
  tf_config=: text
  task_type=: one of chief, worker, evaluator
  task_index=: a whole number of at least 0
  evaluated_by=auto: one of auto, chief, evaluator
  cluster_timeout=600: a whole number of at least 1
  round_timeout=1800: a whole number of at least 0
  max_restarts=3: a whole number of at least 0
training:
  train_env_steps=50000: a whole number of at least 1
  num_envs=16: a whole number of at least 1
  round_env_steps=80: a whole number of at least 1
  replay_ratio=0.5: a number from 0 to 1000
  batch_size=64: a whole number of at least 1
  replay_capacity=50000: a whole number of at least 1
  learning_starts=1000: a whole number of at least 1
  overlap=true: true or false
  vectorization=sync: one of sync, async
replay:
  replay=uniform: one of uniform, prioritized
  priority_exponent=0.5: a number from 0 to 1
  importance_exponent=0.4: a number from 0 to 1
  importance_exponent_final=1.0: a number from 0 to 1
atari:
  atari_protocol=auto: one of auto, machado, nature
  atari_actions=auto: one of auto, minimal, full
network:
  network=auto: one of auto, mlp, nature_cnn, impala_cnn, minatar_cnn, or module:function of your own
  hidden_units=128,128: whole numbers separated by commas, each of at least 1
  activation=relu: one of ACTIVATIONS
  width=1: a whole number from 1 to 16
  pooling=0: a whole number of at least 0
  spectral_norm=false: true or false
  normalization=none: one of none, layer
  normalize_observations=false: true or false
  head=expected: one of expected, categorical, quantile, implicit_quantile
  dueling=false: true or false
  noisy=false: true or false
  noisy_sigma=0.5: a number of at least 0
  num_atoms=51: a whole number from 2 to 1001
  v_min=-10.0: a number
  v_max=10.0: a number
  num_quantiles=200: a whole number from 1 to 1000
  num_tau_samples=64: a whole number from 1 to 1000
  num_policy_tau_samples=32: a whole number from 1 to 1000
  num_critics=1: a whole number from 1 to 16
learning:
  optimizer=adam: one of OPTIMIZERS
  learning_rate=0.001: a number of at least 0
  learning_rate_schedule=inverse_time: one of constant, linear, cosine, inverse_time
  learning_rate_final=0.0: a number of at least 0
  learning_rate_decay_env_steps=0: a whole number of at least 0
  learning_rate_decay=0.0001: a number of at least 0
  optimizer_epsilon=1e-07: a number of at least 0
  discount=0.99: a number from 0 to 1
  n_step=3: a whole number of at least 1
  reward_clip=0.0: a number of at least 0
  double_q=true: true or false
  munchausen=false: true or false
  munchausen_alpha=0.9: a number from 0 to 1
  munchausen_tau=0.03: a number of at least 1e-06
  munchausen_clip=-1.0: a number from -1000000.0 to 0
  loss=huber: one of huber, squared, or module:function of your own
  huber_kappa=1.0: a number of at least 0
  clip_norm=10.0: a number of at least 0
  target_update_period=0: a whole number of at least 0
  target_update_rate=0.005: a number from 0 to 1
exploration:
  exploration=linear_epsilon: one of linear_epsilon, ape_x, boltzmann
  ape_x_epsilon=0.4: a number from 0 to 1
  ape_x_alpha=7.0: a number of at least 0
  temperature=1.0: a number of at least 1e-06
  epsilon_initial=1.0: a number from 0 to 1
  epsilon_final=0.05: a number from 0 to 1
  epsilon_decay_env_steps=10000: a whole number of at least 0
communication:
  wire_precision=float32: one of float32, bfloat16
  average_period=0: a whole number of at least 0
evaluation:
  eval_period=5000: a whole number of at least 0
  eval_episodes=20: a whole number of at least 1
  final_eval_episodes=100: a whole number of at least 1
  stop_at_return=: a number
  eval_max_episode_steps=0: a whole number of at least 0
  eval_epsilon=0.0: a number from 0 to 1
  checkpoint_period=20000: a whole number of at least 0
  checkpoints_to_keep=3: a whole number of at least 1
  log_period=1000: a whole number of at least 1
hardware:
  jit_compile=auto: one of auto, true, false
  replay_device=auto: one of auto, host, gpu
  precision=auto: one of auto, float32, tf32, bfloat16
  deterministic=false: true or false
  learner_threads=0: a whole number from 0 to 1024
  actor_threads=0: a whole number from 0 to 1024
"""
# A busy machine is no failure.
ANY = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
SECTIONS = [branch.name for branch in dataclasses.fields(schema.Config)]


@pytest.fixture
def known_presets(monkeypatch):
    """Puts presets of known values in place of the tuned ones."""
    small = {"batch_size": 8, "n_step": 2, "discount": 0.5}
    monkeypatch.setattr(presets, "PRESETS", {"none": {}, "general": {}, "small": small, "pong": {"n_step": 3}})
    monkeypatch.setattr(presets, "_BY_ENVIRONMENT", {"Pong": "pong"})
    monkeypatch.setattr(presets, "ALGORITHMS", {})


@pytest.fixture
def config_file(tmp_path):
    """Returns a function that writes a config file and returns its path."""

    def write(contents):
        path = tmp_path / "config.json"
        path.write_text(contents if isinstance(contents, str) else json.dumps(contents))
        return path

    return write


def parse(*argv):
    return flags.parse(["train.py", *argv])


def parsed(*argv):
    built, problems = parse(*argv)
    assert problems == []
    return built


def problems_of(*argv):
    return parse(*argv)[1]


def test_flags_are_the_frozen_set_with_defaults_and_allowed_values():
    lines = []
    for section in SECTIONS:
        lines.append(f"{section}:")
        for setting in settings.SETTINGS.values():
            if setting.section == section:
                default = "" if setting.field.default is None else settings.to_text(setting.field.default)
                lines.append(f"  {setting.name}={default}: {setting.allowed()}")
    named = {"OPTIMIZERS": schema.OPTIMIZERS, "ACTIVATIONS": schema.ACTIVATIONS}
    expected = FLAGS
    for name, choices in named.items():
        expected = expected.replace(name, ", ".join(choices))
    assert lines == expected.strip().splitlines()


def test_flags_of_absl_are_the_settings():
    assert list(settings.SETTINGS) == [name for name in settings.SETTINGS if name in flags.define()]
    assert set(flags.define()) == set(settings.SETTINGS)


def test_parse_of_no_flags_gives_the_defaults_and_the_preset_of_the_environment():
    assert parsed() == settings.build(dict(presets.find("auto", schema.Config().run.env)))


@pytest.mark.parametrize("argument", ["--seed=3", "-seed=3"])
def test_parse_of_one_or_two_dashes_means_the_same(argument):
    assert parsed(argument).run.seed == 3


def test_parse_of_a_value_in_the_next_argument_takes_it():
    assert parsed("--seed", "3", "--env", "CartPole-v0").run == schema.RunSettings(env="CartPole-v0", seed=3)


def test_parse_of_a_flag_given_twice_takes_the_last():
    assert parsed("--seed=1", "--seed=2").run.seed == 2


@pytest.mark.parametrize(
    "argument, value",
    [
        ("--overlap", True),
        ("--nooverlap", False),
        ("--overlap=false", False),
        ("--overlap=1", True),
    ],
)
def test_parse_of_a_boolean_knows_every_form(argument, value):
    assert parsed(argument).training.overlap is value


def test_parse_of_each_type_gives_its_values():
    built = parsed("--train_env_steps=1e5", "--hidden_units=64,64", "--learning_rate=3e-4", "--task_index=0")
    assert built.training.train_env_steps == 100_000
    assert built.network.hidden_units == (64, 64)
    assert built.learning.learning_rate == 3e-4
    assert built.cluster.task_index == 0


def test_parse_where_all_four_give_values_the_later_wins(known_presets, config_file):
    path = config_file({"run": {"preset": "small"}, "training": {"batch_size": 4}, "learning": {"n_step": 7}})
    built = parsed(f"--config={path}", "--n_step=9")
    assert built.learning.n_step == 9  # the flag, over 7 of the file and 2 of the preset
    assert built.training.batch_size == 4  # the file, over 8 of the preset
    assert built.learning.discount == 0.5  # the preset, over the default
    assert built.learning.loss == schema.Learning().loss  # the default


def test_parse_where_the_preset_is_typed_it_wins_over_the_file(known_presets, config_file):
    path = config_file({"training": {"batch_size": 4}, "learning": {"n_step": 7}})
    built = parsed("--preset=small", f"--config={path}", "--n_step=9")
    assert built.learning.n_step == 9  # another flag still wins over the preset's 2
    assert built.training.batch_size == 8  # the preset, over 4 of the file


def test_parse_where_the_file_names_preset_and_environment_takes_that_preset(known_presets, config_file):
    assert parsed(f"--config={config_file({'run': {'preset': 'small'}})}").learning.n_step == 2
    assert parsed(f"--config={config_file({'run': {'env': 'Pong-v0'}})}").learning.n_step == 3


def test_parse_where_a_flag_names_another_preset_than_the_file_takes_the_flag(known_presets, config_file):
    path = config_file({"run": {"preset": "small"}})
    assert parsed(f"--config={path}", "--preset=pong").learning.n_step == 3
    assert parsed(f"--config={path}", "--preset=auto", "--env=Pong-v0").learning.n_step == 3


def test_parse_of_the_config_json_of_a_run_gives_the_same_config(known_presets, config_file):
    built = parsed("--preset=small", "--seed=4", "--nooverlap", "--hidden_units=8,9", "--learning_rate=0.3")
    assert parsed(f"--config={config_file(settings.to_json(built))}") == dataclasses.replace(
        built, run=dataclasses.replace(built.run, config=str(config_file(settings.to_json(built))))
    )


@pytest.mark.parametrize(
    "argument, line",
    [
        ("--seed=-1", "--seed=-1 must be a whole number from 0 to 2147483647."),
        ("--eval_period=-1", "--eval_period=-1 must be a whole number of at least 0."),
        ("--overlap=maybe", "--overlap=maybe must be true or false."),
        ("--overlp", "--overlp is an unknown flag; did you mean --overlap?"),
        ("--batchsize=3", "--batchsize=3 is an unknown flag; did you mean --batch_size?"),
        ("--qqq", "--qqq is an unknown flag; see --help."),
        ("--noseed", "--noseed is an unknown flag; did you mean --seed?"),
        ("CartPole-v1", "CartPole-v1 is not a flag; see --help."),
        ("--seed", "Missing value for flag --seed; see --help."),
        ("--nooverlap=true", "--nooverlap=true does not take an argument; see --help."),
        ("--preset=nne", "--preset=nne must be one of auto, none, general, small, pong; did you mean none?"),
        ("--config=/no/file", "--config=/no/file cannot be read: No such file or directory."),
    ],
)
def test_parse_of_a_mistake_says_what_was_given_and_what_to_do(known_presets, argument, line):
    assert problems_of(argument) == [line]


@pytest.mark.parametrize("contents", ["", "{} {}", "1" * 5000])
def test_parse_of_a_config_file_that_is_not_json_says_so(config_file, contents):
    path = config_file(contents)
    assert problems_of(f"--config={path}") == [f"--config={path} cannot be read: it is not JSON."]


def test_parse_of_a_config_file_that_is_nested_too_deeply_says_so(config_file):
    path = config_file("[" * 100_000)
    assert problems_of(f"--config={path}") == [f"--config={path} cannot be read: it is nested too deeply."]


def test_parse_of_a_config_file_with_a_byte_order_mark_reads_it(config_file):
    path = config_file("\ufeff{}")
    assert problems_of(f"--config={path}") == []


def test_parse_of_a_config_file_that_is_not_text_says_so(tmp_path):
    path = tmp_path / "config.json"
    path.write_bytes(b"\xff\xfe{}")
    assert problems_of(f"--config={path}") == [f"--config={path} cannot be read: it is not UTF-8 text."]


def test_parse_of_a_config_file_that_is_a_directory_says_so(tmp_path):
    assert problems_of(f"--config={tmp_path}") == [f"--config={tmp_path} cannot be read: Is a directory."]


def test_parse_of_mistakes_in_flags_file_and_preset_tells_all_at_once(known_presets, config_file):
    path = config_file({"learning": {"n_step": "many", "discunt": 1}})
    argv = ["--seed=x", "--discount=2", "--preset=tiny", f"--config={path}", "--qqq=1", "--optimizer=adm"]
    assert sorted(problems_of(*argv)) == sorted(
        [
            "--qqq=1 is an unknown flag; see --help.",
            "--seed=x must be a whole number from 0 to 2147483647.",
            "--discount=2 must be a number from 0 to 1.",
            f"--optimizer=adm must be one of {', '.join(schema.OPTIMIZERS)}; did you mean adam?",
            f"--config={path} has an unknown setting learning.discunt; did you mean learning.discount?",
            f"--config={path}: --n_step=many must be a whole number of at least 1.",
            "--preset=tiny must be one of auto, none, general, small, pong.",
        ]
    )


def test_parse_where_flags_contradict_each_other_tells_that_beside_other_mistakes():
    argv = ["--seed=-1", "--num_envs=16", "--round_env_steps=40", "--replay_ratio=1"]
    assert problems_of(*argv) == [
        "--seed=-1 must be a whole number from 0 to 2147483647.",
        "--round_env_steps=40 must be divisible by --num_envs=16; try 32 or 48.",
    ]


FITTING = ["--num_envs=10", "--round_env_steps=50", "--replay_ratio=1", "--n_step=1", "--learning_starts=10"]
CONTRADICTION = "--round_env_steps=50 must be divisible by --num_envs="


def test_parse_where_a_mistaken_value_stands_between_does_not_tell_what_follows_from_its_default():
    assert problems_of(*FITTING) == []
    mistaken = [argument.replace("10", "ten") for argument in FITTING]
    assert problems_of(*mistaken) == [
        "--num_envs=ten must be a whole number of at least 1.",
        "--learning_starts=ten must be a whole number of at least 1.",
    ]


def test_parse_where_n_step_is_mistaken_does_not_tell_what_follows_for_learning_starts():
    argv = ["--num_envs=10", "--round_env_steps=50", "--replay_ratio=1", "--learning_starts=10", "--n_step=one"]
    assert problems_of(*argv) == ["--n_step=one must be a whole number of at least 1."]


@pytest.mark.parametrize("source", ["--config=/no/file", "--preset=qqq"])
def test_parse_where_file_or_preset_is_missing_does_not_tell_what_follows_from_defaults(source):
    rest = FITTING[1:]  # --num_envs=10 may be what was meant to be read
    assert any(line.startswith(CONTRADICTION) for line in problems_of(*rest))
    (line,) = problems_of(source, *rest)
    assert line.startswith(source)


@pytest.mark.parametrize("leaves", [{"num_envs": "ten"}, {"num_env": 10}])
def test_parse_where_the_file_has_a_mistake_does_not_tell_what_follows_from_defaults(config_file, leaves):
    path = config_file({"training": leaves})
    (line,) = problems_of(f"--config={path}", *FITTING[1:])
    assert line.startswith(f"--config={path}")


def one_line_each(problems):
    return all(len(line.splitlines()) == 1 for line in schema.ConfigError(*problems).problems)


names = st.sampled_from(sorted(settings.SETTINGS)) | st.text()
arguments = st.text() | st.builds(
    "{}{}{}{}".format, st.sampled_from(["", "-", "--", "--no"]), names, st.just("="), st.text()
)


@ANY
@given(st.lists(arguments | st.builds("--{}".format, names)))
def test_parse_of_any_arguments_gives_a_config_or_one_line_problems(argv):
    built, problems = parse(*argv)
    assert isinstance(built, schema.Config)
    assert one_line_each(problems)


numbers = st.integers() | st.floats() | st.sampled_from(["1e308", "-0", "1e5", "0x10", "9" * 400, "1_0", "٣"])
settings_with_numbers = st.sampled_from([name for name, s in settings.SETTINGS.items() if s.field.type in (int, float)])


@ANY
@given(st.lists(st.builds("--{}={}".format, settings_with_numbers, numbers)))
def test_parse_of_any_numbers_gives_a_config_or_one_line_problems(argv):
    built, problems = parse(*argv)
    assert isinstance(built, schema.Config)
    assert one_line_each(problems)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(SECTIONS), inner),
    max_leaves=8,
)
files = st.binary() | json_values.map(lambda value: json.dumps(value).encode())


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("flags") / "config.json"


@ANY
@given(files)
def test_parse_of_any_config_file_gives_a_config_or_one_line_problems(scratch, contents):
    scratch.write_bytes(contents)
    built, problems = parse(f"--config={scratch}")
    assert isinstance(built, schema.Config)
    assert one_line_each(problems)


@pytest.mark.parametrize("depth", [200, 900, 950, 990])
def test_parse_of_a_deeply_nested_config_file_gives_one_line(config_file, depth):
    path = config_file('{"network": {"hidden_units": ' + "[" * depth + "]" * depth + "}}")
    (line,) = problems_of(f"--config={path}")
    assert line.startswith(f"--config={path}")


@pytest.mark.parametrize("argument", ["-h", "--help", "--helpfull"])
def test_wants_help_where_it_is_asked_for_is_true(argument):
    assert flags.wants_help(["train.py", "--seed=1", argument])


@pytest.mark.parametrize("argv", [["train.py"], ["--help"], ["train.py", "--seed=1"]])
def test_wants_help_elsewhere_is_false(argv):
    assert not flags.wants_help(argv)


def help_of(name):
    """Returns what --help says of a flag, on one line."""
    lines = [*flags.help_text().splitlines(), ""]
    start = lines.index(f"  --{name}") + 1
    count = next(i for i, line in enumerate(lines[start:]) if not line.startswith("      "))
    return " ".join(textwrap.dedent("\n".join(lines[start : start + count])).split())


def test_help_of_each_flag_tells_meaning_default_unit_source_and_choices():
    for name, setting in settings.SETTINGS.items():
        limits, default, text = setting.field.metadata, setting.field.default, help_of(name)
        assert text.startswith(limits["help"])
        assert f"[default: {'empty' if default in ('', None, ()) else settings.to_text(default)}" in text, name
        assert not limits["unit"] or f"; unit: {limits['unit']}" in text
        assert not limits["source"] or f"; source: {limits['source']}]" in text
        assert not limits["choices"] or f"({setting.allowed()})" in text


def test_help_groups_the_flags_by_section_in_order():
    groups, current = {}, None
    for line in flags.help_text().splitlines()[2:]:
        if line.startswith("  --"):
            groups[current].append(line.strip().removeprefix("--"))
        elif line and not line.startswith(" "):
            current = line.split(":")[0]
            groups[current] = []
    expected = {section: [] for section in SECTIONS}
    for setting in settings.SETTINGS.values():
        expected[setting.section].append(setting.name)
    assert groups == expected


def test_flag_table_of_the_documents_agrees_with_the_code():
    table = (pathlib.Path(__file__).parents[2] / "docs" / "flags.md").read_text(encoding="utf-8")
    assert table == flags.markdown()


def test_every_flag_has_a_source_and_every_number_a_unit():
    for setting in settings.SETTINGS.values():
        limits = setting.field.metadata
        assert limits["help"] and limits["source"], setting.name
        assert limits["unit"] or setting.field.type not in (int, float) or setting.name == "seed", setting.name


def test_parse_of_a_file_that_names_a_module_wants_it_typed_too(config_file):
    path = config_file({"run": {"env": "somebodys.module:Env-v0"}, "training": {"num_envs": 4}})
    built, problems = flags.parse(["train.py", f"--config={path}"])
    assert problems == [
        f"--config={path} names a module that would be imported; add --env=somebodys.module:Env-v0 to trust it."
    ]
    assert built.run.env == schema.RunSettings().env
    assert parsed(f"--config={path}", "--env=somebodys.module:Env-v0").training.num_envs == 4
    path = config_file({"run": {"env": "ale_py:ALE/Pong-v5"}})
    assert parsed(f"--config={path}").run.env == "ale_py:ALE/Pong-v5"


def test_parse_of_hyperparameters_as_platforms_give_them():
    argv = ["--batch-size", "32", "--overlap", "False", "--double_q", "True", "--hidden-units", "8,9", "--env", "A-v0"]
    built, _ = flags.parse(["train.py", *argv, "--learning-rate=0.5", "--double-q=false"])
    assert (built.training.batch_size, built.training.overlap, built.learning.double_q) == (32, False, False)
    assert (built.network.hidden_units, built.run.env, built.learning.learning_rate) == ((8, 9), "A-v0", 0.5)
    assert flags.parse(["train.py", "--overlap", "maybe"])[1] == ["maybe is not a flag; see --help."]


def test_misspelt_flag_may_be_an_option_that_was_taken_out_of_the_command_line():
    assert flags.parse(["train.py", "--machne=x"])[1] == ["--machne=x is an unknown flag; see --help."]
    expected = ["--machne=x is an unknown flag; did you mean --machine?"]
    assert flags.parse(["train.py", "--machne=x"], ["machine"])[1] == expected


def test_flag_that_may_be_given_several_times_keeps_all_in_order():
    assert parsed("--wrapper=a:A", "--wrapper", "b:B").run.wrapper == ("a:A", "b:B")
    assert parsed("--wrapper=a:A,b:B").run.wrapper == ("a:A", "b:B")
    assert problems_of("--wrapper=a:A", "--wrapper=B") == [
        "--wrapper=a:A,B must be module:Class, or several separated by commas."
    ]


@pytest.mark.parametrize("name", ["env", "network", "loss", "wrapper"])
def test_module_that_a_file_names_is_not_trusted_until_the_flag_names_it_too(config_file, name):
    section = settings.SETTINGS[name].section
    path = config_file({section: {name: ["my:Own"] if name == "wrapper" else "my:Own"}})
    (line,) = problems_of(f"--config={path}")
    assert line == f"--config={path} names a module that would be imported; add --{name}=my:Own to trust it."
    assert problems_of(f"--config={path}", f"--{name}=my:Own") == []

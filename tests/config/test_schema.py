"""The checks that join settings, and what a ConfigError says."""

import dataclasses
import re

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dqn_tf.config import schema, settings

# A busy machine is no failure.
ANY = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
# Every number that the checks read, so that the defaults may be tuned without a change here.
VALUES = dict(
    train_env_steps=1000,
    num_envs=4,
    round_env_steps=8,
    replay_ratio=0.5,
    batch_size=32,
    replay_capacity=600,
    learning_starts=100,
    n_step=3,
)


def config_with(**values):
    return settings.build({**VALUES, **values})


def test_check_where_all_fits_finds_nothing():
    assert schema.check(config_with()) == []


def test_check_of_the_defaults_finds_nothing():
    assert schema.check(schema.Config()) == []


@pytest.mark.parametrize("strategy_workers", [1, 2])
def test_check_division_of_the_defaults_on_the_local_cluster_finds_nothing(strategy_workers):
    assert schema.check_division(schema.Config(), strategy_workers, 2) == []


@pytest.mark.parametrize(
    "values, line",
    [
        (
            dict(round_env_steps=10),
            "--round_env_steps=10 must be divisible by --num_envs=4; try 8 or 12.",
        ),
        (
            dict(round_env_steps=3, replay_ratio=1.0),
            "--round_env_steps=3 must be divisible by --num_envs=4; try 4.",
        ),
        (
            dict(replay_ratio=0.3),
            "--replay_ratio=0.3 makes 2.4 updates in a round of --round_env_steps=8, which must be a whole number "
            "of at least 1; try 0.25 or 0.375, or other round_env_steps.",
        ),
        (
            dict(replay_ratio=0.0),
            "--replay_ratio=0 makes 0 updates in a round of --round_env_steps=8, which must be a whole number "
            "of at least 1; try 0.125 or 0.25, or other round_env_steps.",
        ),
        (
            dict(learning_starts=11),
            "--learning_starts=11 must be at least 12 (--num_envs=4 x --n_step=3), so that there is a transition "
            "to learn from.",
        ),
        (
            dict(learning_starts=1000),
            "--learning_starts=1000 lets learning begin at env step 1000; that must be below --train_env_steps=1000, "
            "else nothing is learned.",
        ),
        (
            dict(learning_starts=993),  # rounds begin at 992 and 1000
            "--learning_starts=993 lets learning begin at env step 1000; that must be below --train_env_steps=1000, "
            "else nothing is learned.",
        ),
        (
            dict(replay_capacity=7),
            "--replay_capacity=7 must hold at least a round of --round_env_steps=8.",
        ),
    ],
)
def test_check_where_two_settings_contradict_names_both_and_what_to_do(values, line):
    assert schema.check(config_with(**values)) == [line]


@pytest.mark.parametrize("values", [dict(learning_starts=12), dict(learning_starts=992), dict(replay_capacity=8)])
def test_check_at_the_limit_finds_nothing(values):
    assert schema.check(config_with(**values)) == []


def test_check_with_several_contradictions_tells_all():
    lines = schema.check(config_with(round_env_steps=10, replay_ratio=0.33, learning_starts=5000, replay_capacity=9))
    assert [line.split("=")[0] for line in lines] == [
        "--round_env_steps",
        "--replay_ratio",
        "--learning_starts",
        "--replay_capacity",
    ]


@ANY
@given(st.floats(0, 1000), st.integers(1, 10**6))
def test_check_where_it_names_a_replay_ratio_accepts_that(replay_ratio, round_env_steps):
    def problems(ratio):
        values = dict(num_envs=1, replay_ratio=ratio, round_env_steps=round_env_steps)
        values.update(replay_capacity=10**6, train_env_steps=10**7)
        return schema.check(config_with(**values))

    for line in problems(replay_ratio):
        low, high = re.search("try (.*) or (.*), or other", line).groups()
        assert problems(float(low)) == problems(float(high)) == []


@ANY
@given(st.integers(1, 10**4), st.integers(1, 600))
def test_check_where_it_names_nearest_numbers_accepts_them(round_env_steps, num_envs):
    def problems(number):
        values = dict(num_envs=num_envs, round_env_steps=number, replay_ratio=1.0, n_step=1)
        values.update(learning_starts=10**6, train_env_steps=10**7, replay_capacity=10**6)
        return schema.check(config_with(**values))

    for line in problems(round_env_steps):
        nearest = [int(number) for number in re.search(r"try (.*)\.", line)[1].split(" or ")]
        assert [problems(number) for number in nearest] == [[]] * len(nearest)
        assert min(abs(number - round_env_steps) for number in nearest) <= num_envs


def test_check_division_where_all_divides_finds_nothing():
    assert schema.check_division(config_with(batch_size=24, num_envs=4, replay_capacity=600), 2, 3) == []


def test_check_division_of_a_batch_names_replicas_and_nearest_sizes():
    lines = schema.check_division(config_with(batch_size=50), 2, 2)
    assert lines == [
        "--batch_size=50 must be divisible by the 4 replicas in sync (2 workers x 2 replicas); try 48 or 52."
    ]


def test_check_division_of_a_batch_smaller_than_the_replicas_names_the_one_size_above():
    lines = schema.check_division(config_with(batch_size=3), 1, 4)
    assert lines == [
        "--batch_size=3 must be divisible by the 4 replicas in sync (1 workers x 4 replicas); try 4.",
    ]


def test_check_division_where_nothing_divides_tells_all():
    lines = schema.check_division(config_with(batch_size=50, num_envs=4, replay_capacity=1000), 3, 1)
    assert lines == [
        "--batch_size=50 must be divisible by the 3 replicas in sync (3 workers x 1 replicas); try 48 or 51.",
        "--num_envs=4 must be divisible by the 3 workers; try 3 or 6.",
        "--replay_capacity=1000 must be divisible by the 3 workers; try 999 or 1002.",
    ]


def test_config_error_of_several_problems_is_one_line_each():
    error = schema.ConfigError("first", "second")
    assert (error.problems, str(error)) == (("first", "second"), "first\nsecond")


def test_config_error_of_a_thousand_mistakes_tells_the_first():
    problems = schema.ConfigError(*(f"mistake {i}" for i in range(1000))).problems
    assert problems == (*(f"mistake {i}" for i in range(20)), "... and 980 more mistakes.")


def test_config_error_of_text_with_line_ends_stays_one_line():
    error = schema.ConfigError("--preset=a\nb\r\x0b\x1b\u2028 is wrong")
    assert str(error) == "--preset=a\\nb\\r\\x0b\\x1b\\u2028 is wrong"


def test_config_where_a_field_is_assigned_refuses():
    with pytest.raises(dataclasses.FrozenInstanceError):
        schema.Config().training.batch_size = 1

"""Hours of a run by hand arithmetic, and the file of measured figures."""

import dataclasses
import json
import math
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dqn_tf.config import settings
from dqn_tf.config.schema import ConfigError
from dqn_tf.jobs.cost import measured
from dqn_tf.jobs.cost.scaling_model import Line
from tests.jobs.cost.test_prices import ANY, JSON

CNN, MLP = "Nature CNN", "128-128 MLP"
ATARI, CARTPOLE = "Atari", "CartPole-v1"
# An update of b transitions: 1 + b/4 s alone, 2 + b/4 s as a worker; a ring's step 0.1 s, its bytes nothing.
FIGURES = measured.Measured(
    about={"date": "2026-01-31"},
    single={CNN: Line(1.0, 0.25), MLP: Line(1.0, 0.25)},
    alone={CNN: Line(2.0, 0.25), MLP: Line(2.0, 0.25)},
    step=Line(0.1, 0.0),
    beyond_model={CNN: 1.0, MLP: 1.5},
    acting={ATARI: 10.0, CARTPOLE: 4.0},
    start_seconds=60.0,
    memory_gb={ATARI: Line(1.0, 0.001), CARTPOLE: Line(1.0, 0.0)},
)
# 100 env steps of acting alone, then 1000 with an update of 16 transitions in every second one.
CONFIG = settings.build(
    dict(env="CartPole-v1", train_env_steps=1100, learning_starts=100, batch_size=16, replay_ratio=0.5, num_envs=4)
)


def hours(config, workers, figures=FIGURES):
    """Returns the hours on a network of no latency and all but no time for a byte."""
    return measured.hours(figures, config, workers, 1e9, 0)


def changed(section, **values):
    return dataclasses.replace(CONFIG, **{section: dataclasses.replace(getattr(CONFIG, section), **values)})


class TestHours:
    def test_one_worker_by_hand(self):
        # Acting 1/4 s an env step, learning 0.5 * (1 + 16/4) = 2.5 s: the learner is what it waits for.
        assert hours(CONFIG, 1) == pytest.approx((60 + 100 / 4 + 1000 * 2.5) / 3600)

    def test_two_workers_share_the_batch_and_pay_for_the_ring(self):
        # 2 + 8/4 of work and 2 steps of 0.1 s, and 1.5 times that as measured beyond the model.
        assert hours(CONFIG, 2) == pytest.approx((60 + 25 + 1000 * 0.5 * 1.5 * (4 + 0.2)) / 3600)

    def test_latency_comes_with_each_step_of_the_ring(self):
        extra = measured.hours(FIGURES, CONFIG, 2, 1e9, 100_000) - hours(CONFIG, 2)
        assert extra == pytest.approx(1000 * 0.5 * 1.5 * 2 * 0.1 / 3600)

    def test_slow_network_costs_the_bytes(self):
        # 17,410 weights and 6 metrics of each of 2, 4 bytes each; half of them in each of 2 steps, 8e-9 s a byte.
        extra = measured.hours(FIGURES, CONFIG, 2, 1, 0) - hours(CONFIG, 2)
        assert extra == pytest.approx(1000 * 0.5 * 1.5 * 4 * (17_410 + 12) * 8e-9 / 3600, rel=1e-3)

    def test_slow_actor_is_waited_for(self):
        slow = dataclasses.replace(FIGURES, acting={ATARI: 10.0, CARTPOLE: 0.2})
        assert hours(CONFIG, 1, slow) == pytest.approx((60 + 1100 * 5) / 3600)

    def test_without_overlap_they_take_turns(self):
        assert hours(changed("training", overlap=False), 1) == pytest.approx((60 + 25 + 1000 * (0.25 + 2.5)) / 3600)

    def test_replay_ratio_and_length_count(self):
        assert hours(changed("training", replay_ratio=1.0, train_env_steps=2100), 1) == pytest.approx(
            (60 + 25 + 2000 * 5) / 3600
        )

    def test_given_rate_scales_updates_alone(self):
        # 5 s an update as measured; at 2 a second, ten times as fast: 0.25 s for each env step, as the actor.
        figures = measured.at_rate(FIGURES, CONFIG, 2.0)
        assert hours(CONFIG, 1, figures) == pytest.approx((60 + 25 + 1000 * 0.25) / 3600)
        assert figures.alone[MLP] == pytest.approx((0.2, 0.025))
        assert figures.single[CNN] == FIGURES.single[CNN]

    def test_given_rate_of_acting_is_that_of_the_environment(self):
        # The learner's 2.5 s an env step are still slower than the actor's 1/2 s, but the first 100 are acting alone.
        figures = measured.acting_at(FIGURES, CONFIG, 2.0)
        assert hours(CONFIG, 1, figures) == pytest.approx((60 + 100 / 2 + 1000 * 2.5) / 3600)
        assert figures.acting[ATARI] == 10.0

    @pytest.mark.parametrize("network", ["auto", "mlp"])
    def test_game_acts_and_remembers_as_a_game_whatever_its_network(self, network):
        changes = dict(env="ALE/Pong-v5", network=network, train_env_steps=1100, learning_starts=1100)
        config = settings.build(dict(changes, replay_capacity=500))
        assert hours(config, 1) == pytest.approx((60 + 1100 / 10) / 3600)
        assert measured.memory_gb(FIGURES, config, 1) == 1.0 + 500 * 0.001

    def test_other_environments_are_taken_for_cartpole(self):
        config = settings.build(dict(env="my:Images-v0", network="nature_cnn", train_env_steps=8, learning_starts=8))
        assert hours(config, 1) == pytest.approx((60 + 8 / 4) / 3600)


class TestNetwork:
    @pytest.mark.parametrize(
        ("values", "network"),
        [
            (dict(env="CartPole-v1"), MLP),
            (dict(env="ALE/Pong-v5"), CNN),
            (dict(env="ale_py:ALE/Pong-v5"), CNN),
            (dict(env="my:Images-v0", network="nature_cnn"), CNN),
            (dict(env="ALE/Pong-v5", network="mlp"), MLP),
        ],
    )
    def test_is_told_from_the_flags(self, values, network):
        assert measured.network_of(settings.build(values)) == network

    @pytest.mark.parametrize(
        ("values", "told"),
        [
            (dict(), []),
            (dict(hidden_units=(256, 64), precision="bfloat16"), ["--hidden_units=256,64", "--precision=bfloat16"]),
            (dict(env="ALE/Pong-v5", hidden_units=(9,)), []),
            (dict(env="ale_py:ALE/Breakout-v5"), []),
            (dict(env="LunarLander-v3"), ["--env=LunarLander-v3 (acting, updates, memory as of CartPole-v1)"]),
            (dict(env="my_module:Env-v0"), ["--env=my_module:Env-v0 (acting, updates, memory as of CartPole-v1)"]),
            (
                dict(env="ALE/Pong-v5", network="mlp"),
                ["--network=mlp (updates as of 128-128 MLP on other inputs)"],
            ),
        ],
    )
    def test_what_was_not_measured_is_told(self, values, told):
        assert measured.differences(settings.build(values)) == told

    def test_what_is_known_of_the_run_is_not_told(self):
        config = settings.build(dict(env="LunarLander-v3", hidden_units=(9,)))
        assert measured.differences(config, is_update_known=True, is_acting_known=True) == [
            "--env=LunarLander-v3 (memory as of CartPole-v1)"
        ]
        assert measured.differences(config, is_acting_known=True)[1:] == ["--hidden_units=9"]


class TestMeasuredFile:
    def test_shipped_one_says_when_and_how(self):
        figures = measured.load()
        assert {"date", "cpu", "command", "source"} <= set(figures.about)
        # docs/scaling.md: Nature CNN alone 22.5 ms at 32 and 165 at 256, the MLP compiled 0.098 and 0.426 ms.
        assert [1e3 * figures.single[CNN].at(b) for b in (32, 256)] == pytest.approx([22.53, 164.97], abs=0.01)
        assert [1e3 * figures.single[MLP].at(b) for b in (32, 256)] == pytest.approx([0.098, 0.426], abs=0.001)
        assert [1e3 * figures.alone[MLP].at(b) for b in (32, 256)] == pytest.approx([0.182, 0.424], abs=0.001)

    def test_file_of_the_benchmark_is_read_and_the_rest_is_the_programs_own(self, tmp_path):
        lines = {CNN: Line(0.5, 0.1), MLP: Line(0.2, 0.3)}
        tree = {"about": {"date": "2026-02-01"}, "alone": lines, "single": lines, "step": Line(1e-3, 2e-9)}
        (tmp_path / "s.json").write_text(json.dumps({**tree, "seconds": {}, "predicted": {}, "all-reduce": [1, 2]}))
        figures = measured.load(str(tmp_path / "s.json"))
        assert (figures.single, figures.step, figures.about) == (lines, (1e-3, 2e-9), {"date": "2026-02-01"})
        assert figures.acting == measured.load().acting == {ATARI: 918, CARTPOLE: 17700}

    def test_what_it_says_of_itself_stays_on_a_line(self, tmp_path):
        own = json.loads((pathlib.Path(measured.__file__).parent / "measured.json").read_text())
        own["about"] = {"date": "2026-02-01\ufeff\nCheapest: mine", "a\nb": ["\ud800"]}
        (tmp_path / "s.json").write_text(json.dumps(own))
        about = measured.load(str(tmp_path / "s.json")).about
        assert all(text.isprintable() for pair in about.items() for text in pair)

    @ANY
    @given(change=JSON, field=st.sampled_from(["about", "single", "alone", "step", "acting", "memory_gb"]))
    def test_any_json_is_figures_or_one_line(self, tmp_path, change, field):
        own = json.loads((pathlib.Path(measured.__file__).parent / "measured.json").read_text())
        for tree in (change, {**own, field: change}):
            (tmp_path / "s.json").write_text(json.dumps(tree))
            try:
                figures = measured.load(str(tmp_path / "s.json"))
            except ConfigError as error:
                assert str(error).isprintable()
            else:
                assert all(math.isfinite(measured.hours(figures, CONFIG, workers)) for workers in (1, 512))

    @pytest.mark.parametrize(
        ("change", "line"),
        [
            ({"about": {}}, "about.date is missing: when was it measured?"),
            ({"step": None}, "step=None must be [fixed, per unit], two numbers from 0 to 1e+15 and not both 0."),
            ({"step": [1, -1]}, "step=[1, -1] must be [fixed, per unit]"),
            ({"step": [10**400, 0]}, "step=[100000000000000000...0000000000000000000, 0] must be [fixed, per unit]"),
            ({"start_seconds": 10**400}, "start_seconds=100000000000000000...0000000000000000000 must be a number"),
            ({"start_seconds": 1e-300}, "start_seconds=1e-300 must be a number from 0 to 1e+15."),
            ({"step": [0, 0]}, "step=[0, 0] must be [fixed, per unit]"),
            ({"alone": {CNN: [1, 1]}}, "alone, 128-128 MLP is missing."),
            ({"acting": {ATARI: 0, CARTPOLE: 1}}, "acting, Atari=0 must be a number from 1e-09 to 1e+15."),
            ({"start_seconds": float("nan")}, "start_seconds=nan must be a number from 0 to 1e+15."),
        ],
    )
    def test_wrong_figures_are_named(self, tmp_path, change, line):
        own = json.loads((pathlib.Path(measured.__file__).parent / "measured.json").read_text())
        (tmp_path / "s.json").write_text(json.dumps({**own, **change}))
        with pytest.raises(ConfigError) as caught:
            measured.load(str(tmp_path / "s.json"))
        assert str(caught.value).startswith(f"--measured={tmp_path}/s.json: {line}")

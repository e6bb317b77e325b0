"""Hours of a run by hand arithmetic, and the speeds that they are made from."""

import dataclasses
import json

import pytest
from hypothesis import given

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

    def test_factor_of_updates_is_of_the_workers_own_work(self):
        # Ten times as fast: 0.25 s for each env step, as the actor; of two workers not the ring's 0.2 s.
        figures = dataclasses.replace(FIGURES, update_factor=0.1)
        assert hours(CONFIG, 1, figures) == pytest.approx((60 + 25 + 1000 * 0.25) / 3600)
        assert measured.update_seconds(figures, CONFIG, 2, 1e9, 0) == pytest.approx(1.5 * (0.4 + 0.2))

    def test_game_acts_and_remembers_as_a_game(self):
        changes = dict(env="ALE/Pong-v5", network="mlp", train_env_steps=1100, learning_starts=1100)
        config = settings.build(dict(changes, replay_capacity=500))
        assert hours(config, 1) == pytest.approx((60 + 1100 / 10) / 3600)
        assert measured.memory_gb(FIGURES, config, 1) == 1.0 + 500 * 0.001

    def test_other_environments_are_taken_for_cartpole(self):
        config = settings.build(dict(env="my:Images-v0", network="nature_cnn", train_env_steps=8, learning_starts=8))
        assert hours(config, 1) == pytest.approx((60 + 8 / 4) / 3600)


class TestKind:
    @pytest.mark.parametrize(
        ("values", "kind"),
        [
            (dict(env="CartPole-v1"), (MLP, CARTPOLE)),
            (dict(env="ale_py:ALE/Pong-v5"), (CNN, ATARI)),
            (dict(env="my:Images-v0", network="nature_cnn"), (CNN, CARTPOLE)),
            (dict(env="ALE/Pong-v5", network="mlp"), (MLP, ATARI)),
        ],
    )
    def test_is_read_from_the_flags(self, values, kind):
        assert measured.kind_of(settings.build(values)) == kind


def summary(tmp_path, **changes):
    tree = dict(env="CartPole-v1", num_workers=1, updates_per_second=40.0, env_steps_per_second=80.0)
    tree |= dict(learner_wait_share=0.5, actor_wait_share=0.2)
    (tmp_path / "summary.json").write_text(json.dumps({**tree, **changes}))
    return f"{tmp_path}/summary.json"


class TestSpeed:
    def test_measured_one_is_that_of_the_documents(self):
        figures, said = measured.of_run(settings.build({}), None, "")
        # docs/scaling.md: Nature CNN alone 22.5 ms at 32 and 165 at 256, the MLP compiled 0.098 and 0.426 ms.
        assert [1e3 * figures.single[CNN].at(b) for b in (32, 256)] == pytest.approx([22.53, 164.97], abs=0.01)
        assert [1e3 * figures.single[MLP].at(b) for b in (32, 256)] == pytest.approx([0.098, 0.426], abs=0.001)
        assert (figures.update_factor, figures.acting[CARTPOLE]) == (1.0, 17700)
        assert said == "one CPU core, 128-128 MLP, CartPole-v1, 2026-11-21; give --summary=FILE if yours is another"

    def test_given_one_is_that_of_the_updates(self):
        figures, said = measured.of_run(CONFIG, 80.0, "")
        assert measured.update_seconds(figures, CONFIG, 1, 10, 50) == pytest.approx(1 / 80)
        assert said == "80 updates/s and 1.77e+04 env steps/s of one worker"

    def test_one_of_a_summary_leaves_the_waits_out(self, tmp_path):
        # The learner waited half of the time, so makes 80 updates a second; the actor 20 %, so makes 100 env steps.
        figures, said = measured.of_run(CONFIG, None, summary(tmp_path))
        assert measured.update_seconds(figures, CONFIG, 1, 10, 50) == pytest.approx(1 / 80)
        assert figures.acting == {CARTPOLE: 100.0}
        assert said == "80 updates/s and 100 env steps/s of one worker"

    @pytest.mark.parametrize(
        "changes",
        [dict(env="Acrobot-v1"), dict(num_workers=2), dict(updates_per_second=None), dict(actor_wait_share=1)],
    )
    def test_summary_of_another_run_is_refused(self, tmp_path, changes):
        path = summary(tmp_path, **changes)
        with pytest.raises(ConfigError) as caught:
            measured.of_run(CONFIG, None, path)
        assert caught.value.problems == (f"--summary={path} is of no finished run of one worker on CartPole-v1.",)

    def test_summary_that_is_not_there_is_named(self):
        with pytest.raises(ConfigError, match="^--summary=/no.json cannot be read: No such file or directory.$"):
            measured.of_run(CONFIG, None, "/no.json")

    @ANY
    @given(updates=JSON, waits=JSON)
    def test_any_json_is_a_speed_or_one_line(self, tmp_path, updates, waits):
        path = summary(tmp_path, updates_per_second=updates, actor_wait_share=waits)
        try:
            figures, _ = measured.of_run(CONFIG, None, path)
        except ConfigError as error:
            assert len(error.problems) == 1
        else:
            assert 0 < measured.hours(figures, CONFIG, 1) < float("inf")

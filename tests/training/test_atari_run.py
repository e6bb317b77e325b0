"""A short run on an Atari game: raw scores are reported, clipped ones learned from; frames and waiting are counted."""

import json

import numpy as np
import pytest

from dqn_tf.environment import atari
from dqn_tf.evaluation import __main__
from dqn_tf.experience import accumulator
from dqn_tf.process import hardware
from tests import marks, runs

pytest.importorskip("ale_py")

NUM_ENV_STEPS, NUM_ENVS = 480, 2
GAME_LENGTH = 60  # games are cut here; invaders, at 5 to 30 points each, are hit before
ARGV = [
    "--env=ALE/SpaceInvaders-v5",
    "--preset=none",
    "--atari_protocol=nature",
    "--reward_clip=1",
    f"--train_env_steps={NUM_ENV_STEPS}",
    f"--num_envs={NUM_ENVS}",
    "--n_step=1",
    "--learning_starts=400",
    "--replay_ratio=0.1",
    "--log_period=80",
    "--eval_period=0",
    "--final_eval_episodes=1",
    "--eval_epsilon=0.5",
    "--checkpoint_period=0",
    "--actor_threads=3",
]


@pytest.fixture(scope="module")
def run(train, tmp_path_factory):
    """Returns the directory of a run, the Steps of its two environments, what was learned from, and threads."""
    steps, learned, threads = [], [], {}
    make, step, add = atari.AtariEnvironment.__init__, atari.AtariEnvironment.step, accumulator.Accumulator.add

    def record_make(self, env_id, num_envs, settings, num_threads, *others):
        threads.setdefault(num_envs, set()).add(num_threads)
        make(self, env_id, num_envs, settings, num_threads, *others)

    def record_step(self, action):
        made = step(self, action)
        if self.num_envs == NUM_ENVS:  # those that are evaluated in are fewer
            steps.append(made)
        return made

    def record_add(self, rows):
        transitions = add(self, rows)
        learned.append(transitions)
        return transitions

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atari, "_MAX_FRAMES", 4 * GAME_LENGTH)
        patch.setattr(atari.AtariEnvironment, "__init__", record_make)
        patch.setattr(atari.AtariEnvironment, "step", record_step)
        patch.setattr(accumulator.Accumulator, "add", record_add)
        logdir = train(tmp_path_factory.mktemp("atari") / "run", *ARGV)
    return logdir, steps, accumulator.Transitions(*map(np.concatenate, zip(*learned, strict=True))), threads


def test_scores_that_are_reported_are_raw(run):
    logdir, steps, *_ = run
    reward, ended = (np.stack([getattr(step, name) for step in steps]) for name in ("reward", "ended"))
    assert reward.shape == (NUM_ENV_STEPS / NUM_ENVS, NUM_ENVS)
    scores = []  # of every game, in order of its end
    for t, i in np.argwhere(ended):
        begin = max([-1, *np.flatnonzero(ended[:t, i])]) + 1
        scores.append((2.0 * (t + 1), float(reward[begin : t + 1, i].sum())))
    rows = runs.rows(logdir, "train/episode_return")
    assert [(row["env_steps"], row["train/episode_return"]) for row in rows] == scores
    assert len(scores) == NUM_ENVS * (NUM_ENV_STEPS // NUM_ENVS // GAME_LENGTH) == 8
    assert sum(score for _, score in scores) >= 10
    assert {row["train/episode_length"] for row in rows} == {GAME_LENGTH}


def test_rewards_that_are_learned_from_are_clipped(run):
    _, steps, learned, _ = run
    raw = np.concatenate([step.reward for step in steps])
    np.testing.assert_array_equal(learned.r_t, np.minimum(raw, 1.0))  # n is 1: a transition for each step
    assert set(learned.r_t.tolist()) == {0.0, 1.0} and raw.max() >= 5


def test_cut_games_are_bootstrapped_and_actions_are_those_carried_out(run):
    _, steps, learned, _ = run
    terminated, action = (np.concatenate([getattr(step, name) for step in steps]) for name in ("terminated", "action"))
    np.testing.assert_array_equal(learned.discount_t == 0, terminated)
    np.testing.assert_array_equal(learned.a_tm1, action)


def test_threads_of_the_flag_step_the_games_that_are_learned_from(run):
    cores = {hardware.num_cores()}
    assert run[3] == {NUM_ENVS: {3}, 3: cores, 1: cores}  # evaluation, of 3 and of 1, takes all


def test_summary_counts_frames_and_waiting(run):
    summary = runs.read_json(run[0] / "summary.json")
    assert (summary["env_steps"], summary["frames_per_env_step"], summary["frames"]) == (480, 4, 4 * 480)
    assert summary["updates"] == (480 - 400) // 40 * 4
    assert 0 <= summary["actor_wait_share"] <= 1 and 0 <= summary["learner_wait_share"] <= 1
    assert summary["threshold"] is None


def test_rows_count_frames_and_waiting(run):
    rows = [json.loads(line) for line in (run[0] / "metrics.jsonl").read_text().splitlines()]
    logged = [row for row in rows if "time/frames" in row]
    assert [row["env_steps"] for row in logged] == [80, 160, 240, 320, 400, 480]
    for row in logged:
        assert row["time/frames"] == 4 * row["env_steps"]
        assert row["time/frames_per_second"] == pytest.approx(4 * row["time/env_steps_per_second"])
        for name in ("time/actor_wait_share", "time/learner_wait_share"):
            assert (name in row) == (row["env_steps"] == 480)  # where there are updates
            assert 0 <= row.get(name, 0) <= 1


def test_config_keeps_how_the_game_is_played(run):
    assert runs.read_json(run[0] / "config.json")["atari"] == {"atari_protocol": "nature", "atari_actions": "minimal"}


def test_evaluation_of_the_run_plays_it_the_same_way(run, monkeypatch, capsys):
    played, make = [], atari.AtariEnvironment

    def record(env_id, num_envs, settings, *others):
        played.append((env_id, settings.atari_protocol))
        return make(env_id, num_envs, settings, *others)

    monkeypatch.setattr(atari, "AtariEnvironment", record)
    assert __main__.main([f"--logdir={run[0]}", "--episodes=1", "--max_episode_steps=30"]) == 0
    assert played == [("ALE/SpaceInvaders-v5", "nature")]
    assert json.loads(capsys.readouterr().out)["eval_return_mean"] % 5 == 0


@pytest.mark.thorough
@pytest.mark.parametrize("protocol", ["machado", *marks.soak("nature")])
def test_games_that_are_saved_at_other_times_and_resumed_come_to_the_same(train, tmp_path, monkeypatch, protocol):
    monkeypatch.setattr(atari, "_MAX_FRAMES", 4 * GAME_LENGTH)
    argv = [*ARGV, f"--atari_protocol={protocol}", "--learning_starts=80", "--round_env_steps=20"]
    argv += ["--replay_ratio=0.05", "--learning_rate_schedule=constant"]
    whole = train(tmp_path / "whole", *argv, "--train_env_steps=240")
    train(tmp_path / "often", *argv, "--train_env_steps=140", "--checkpoint_period=20")  # games end at 120 and 240
    often = train(tmp_path / "often", *argv, "--train_env_steps=240", "--checkpoint_period=100")
    assert learned(often) == learned(whole)
    assert runs.rows(often, "train/episode_return") == runs.rows(whole, "train/episode_return") != []


def learned(logdir):
    """Returns the bits of a run but for the best model: a shorter run is evaluated at its end, too."""
    return {name: array for name, array in runs.bits(logdir).items() if not name.startswith("kept/")}

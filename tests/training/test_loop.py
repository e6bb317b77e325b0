"""Rounds: nothing depends on timing, all that is due falls on its env step, a loss that is no number stops a run."""

import math
import pathlib

import pytest

from dqn_tf.config import schema
from dqn_tf.persistence import checkpoints
from dqn_tf.process import hardware
from tests import marks, runs

KINDS = {
    "mlp": ["--env=CartPole-v1", "--jit_compile=auto"],
    "nature_cnn": [
        "--env=tests.environments:Pixel-v0",
        "--network=nature_cnn",
        "--normalization=none",
        "--train_env_steps=480",
        "--replay_ratio=0.25",
        "--eval_period=240",
        "--checkpoint_period=240",
    ],
}


@pytest.fixture(scope="module", params=["mlp", *marks.thorough("nature_cnn")])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def overlapped(kind, train, tmp_path_factory):
    """Returns the directory of a run whose rounds act and learn at the same time, the default."""
    return train(tmp_path_factory.mktemp("overlapped") / kind, *KINDS[kind])


def test_rounds_that_overlap_give_the_same_bits_as_sequential_ones(kind, overlapped, train, tmp_path):
    train(tmp_path, *KINDS[kind], "--nooverlap")
    assert runs.bits(tmp_path) == runs.bits(overlapped)
    assert runs.rows(tmp_path) == runs.rows(overlapped)


def test_run_that_is_saved_at_other_times_gives_the_same_bits(kind, overlapped, train, tmp_path):
    train(tmp_path, *KINDS[kind], "--checkpoint_period=40")
    assert runs.bits(tmp_path) == runs.bits(overlapped)
    assert runs.rows(tmp_path) == runs.rows(overlapped)


def test_episodes_longer_than_a_checkpoint_period_come_to_their_end(train, tmp_path):
    argv = ["--env=tests.environments:Fixed-v0", "--checkpoint_period=40", "--num_envs=4", "--train_env_steps=800"]
    train(tmp_path, *argv)
    rows = runs.rows(tmp_path, "train/episode_return")
    assert [(row["env_steps"], row["train/episode_length"]) for row in rows] == [(600, 150.0)] * 4


@pytest.mark.thorough
def test_run_with_another_seed_gives_other_weights_and_episodes(kind, overlapped, train, tmp_path):
    train(tmp_path, *KINDS[kind], "--seed=1")
    mine, theirs = runs.network(runs.tensors(tmp_path)), runs.network(runs.tensors(overlapped))
    assert len(mine) == len(theirs) > 0
    assert all((a != b).any() for a, b in zip(mine, theirs, strict=True))
    assert runs.rows(tmp_path, "train/episode_return") != runs.rows(overlapped, "train/episode_return")


@pytest.mark.thorough
def test_environments_in_processes_of_their_own_give_the_same_bits_whenever_they_are_saved(train, tmp_path):
    argv = ["--train_env_steps=400", "--num_envs=4"]
    sync = train(tmp_path / "sync", *argv)
    apart = train(tmp_path / "async", *argv, "--vectorization=async", "--checkpoint_period=80")
    assert runs.bits(apart) == runs.bits(sync)
    assert runs.rows(apart) == runs.rows(sync)


def test_weights_of_every_layer_change_in_a_run(kind, overlapped):
    first = runs.network(runs.tensors(overlapped, runs.checkpoints(overlapped)[0]))
    last = runs.network(runs.tensors(overlapped))
    assert len(last) == 2 * {"mlp": 3, "nature_cnn": 5}[kind]  # kernels and biases
    assert all((a != b).any() for a, b in zip(first, last, strict=True))


def test_updates_begin_with_the_first_round_from_learning_starts(overlapped, kind):
    summary = runs.read_json(overlapped / "summary.json")
    # Rounds that start at 200, 240, ... and make 20 (10) updates each.
    assert (summary["env_steps"], summary["updates"]) == {
        "mlp": (1200, (1200 - 200) // 40 * 20),
        "nature_cnn": (480, (480 - 200) // 40 * 10),
    }[kind]
    assert runs.steps(overlapped, "train/loss")[0] == 400  # the row at 200 comes before the first update


def test_triggers_at_multiples_of_the_round_fall_on_their_env_steps(overlapped, kind):
    if kind == "mlp":
        assert runs.steps(overlapped, "train/epsilon") == [200, 400, 600, 800, 1000, 1200]
        assert runs.steps(overlapped, "eval/return_mean") == [400, 800, 1200]
        assert runs.checkpoints(overlapped) == [400, 800, 1200]
    else:
        assert runs.steps(overlapped, "train/epsilon") == [200, 400, 480]
        assert runs.steps(overlapped, "eval/return_mean") == [240, 480]
        assert runs.checkpoints(overlapped) == [240, 480]


def test_triggers_between_rounds_fall_on_the_next_round_end(train, tmp_path):
    periods = ["--train_env_steps=590", "--eval_period=250", "--checkpoint_period=290", "--log_period=150"]
    train(tmp_path, *periods)
    assert runs.steps(tmp_path, "eval/return_mean") == [280, 520, 600]  # 250, 500, the end
    assert runs.checkpoints(tmp_path) == [320, 600]  # 290, 580
    assert runs.steps(tmp_path, "train/epsilon") == [160, 320, 480, 600]  # 150, 300, 450, 600


@pytest.mark.thorough
def test_triggers_of_period_0_fall_on_the_end_only(train, tmp_path):
    train(tmp_path, "--train_env_steps=400", "--eval_period=0", "--checkpoint_period=0", "--log_period=1000")
    assert runs.steps(tmp_path, "eval/return_mean") == [400]
    assert runs.checkpoints(tmp_path) == [400]
    assert runs.steps(tmp_path, "train/epsilon") == [400]


def test_rates_of_a_run_with_one_row_are_those_from_its_start(train, tmp_path):
    train(tmp_path, "--train_env_steps=400", "--log_period=1000")
    summary = runs.read_json(tmp_path / "summary.json")
    # 400 env steps and 100 updates in the same seconds.
    assert summary["env_steps_per_second"] == pytest.approx(4 * summary["updates_per_second"])
    assert summary["updates_per_second"] > 0


def test_episodes_are_logged_with_the_env_step_at_which_they_end(train, tmp_path):
    # Every episode of Pixel has 12 steps, in all of 8 environments at once.
    train(tmp_path, "--env=tests.environments:Pixel-v0", "--network=mlp", "--train_env_steps=400")
    episodes = runs.rows(tmp_path, "train/episode_return")
    assert [row["env_steps"] for row in episodes] == [12 * 8] * 8 + [24 * 8] * 8 + [36 * 8] * 8 + [48 * 8] * 8
    assert {row["train/episode_length"] for row in episodes} == {12.0}
    assert runs.read_json(tmp_path / "summary.json")["episodes"] == 4 * 8


def test_epsilon_is_1_until_learning_starts_and_falls_linearly_from_there_on_the_schedule(overlapped, kind):
    epsilons = {row["env_steps"]: row["train/epsilon"] for row in runs.rows(overlapped, "train/epsilon")}
    expected = {200: 1 - 0.9 * 200 / 800, 400: 1 - 0.9 * 400 / 800, 600: 1 - 0.9 * 600 / 800, 800: 0.1, 1000: 0.1}
    for step in epsilons.keys() & expected.keys():
        assert epsilons[step] == pytest.approx(expected[step], rel=1e-12)  # Python floats
    assert len(epsilons.keys() & expected.keys()) == {"mlp": 5, "nature_cnn": 2}[kind]


@pytest.mark.parametrize(
    "argv",
    [
        ["--env=tests.environments:Mixed-v0", "--activation=gelu", "--learning_rate_schedule=cosine"],
        ["--precision=bfloat16", "--learning_rate_schedule=inverse_time", "--learning_rate_decay=0.01"],
        ["--target_update_period=7", "--loss=squared", "--clip_norm=0", "--nodouble_q", "--optimizer=rmsprop"],
        ["--replay=prioritized", "--priority_exponent=0.7", "--replay_capacity=240", "--jit_compile=true"],
        *marks.thorough(
            (["--reward_clip=0.5", "--optimizer_epsilon=1e-4", "--eval_epsilon=0.5", "--hidden_units="],),
            (["--env=tests.environments:Pixel-v0", "--network=mlp", "--jit_compile=true"],),
        ),
    ],
    ids=lambda argv: argv[0].removeprefix("--"),
)
def test_run_with_other_choices_learns_and_exports(train, tmp_path, monkeypatch, argv):
    monkeypatch.setattr(hardware, "has_bfloat16", lambda: True)  # slow elsewhere, and as right
    train(tmp_path, "--train_env_steps=400", *argv)
    summary = runs.read_json(tmp_path / "summary.json")
    assert (summary["env_steps"], summary["updates"]) == (400, (400 - 200) // 40 * 20)
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["q_network.keras", "saved_model"]
    (row,) = runs.rows(tmp_path, "train/loss")
    assert all(math.isfinite(value) for value in row.values())


def diverge(train, logdir, *argv):
    with pytest.raises(schema.ConfigError) as error:
        train(logdir, *argv)
    (line,) = error.value.problems
    return line


@pytest.mark.parametrize("overlap", ["--overlap", *marks.thorough("--nooverlap")])
def test_loss_that_is_not_finite_stops_and_names_updates_and_last_checkpoint(train, tmp_path, overlap):
    argv = ["--learning_rate=1e30", "--learning_rate_schedule=constant", "--checkpoint_period=100", overlap]
    assert diverge(train, tmp_path, *argv) == (
        "the loss is not finite in updates 1 to 20; lower --learning_rate or --clip_norm. "
        f"The last good checkpoint is {tmp_path}/checkpoints/ckpt-200."
    )
    assert runs.checkpoints(tmp_path) == [120, 200]
    assert not {path.name for path in pathlib.Path(tmp_path).iterdir()} & {"summary.json", "model", "reward_curve.png"}


@pytest.mark.thorough
def test_loss_that_is_not_finite_leaves_a_checkpoint_of_numbers(train, tmp_path):
    diverge(train, tmp_path, "--learning_rate=1e30", "--learning_rate_schedule=constant", "--checkpoint_period=40")
    arrays = runs.tensors(tmp_path)
    assert arrays and all(math.isfinite(float(abs(array.astype(float)).sum())) for array in arrays.values())


@pytest.mark.parametrize("kind", ["mlp", *marks.thorough("nature_cnn")])
def test_loss_that_is_not_finite_before_any_checkpoint_says_there_is_none(kind, train, tmp_path):
    argv = [*KINDS[kind], "--learning_rate=1e30", "--learning_rate_schedule=constant", "--checkpoint_period=0"]
    assert diverge(train, tmp_path, *argv) == (
        f"the loss is not finite in updates 1 to {'20' if kind == 'mlp' else '10'}; "
        "lower --learning_rate or --clip_norm. There is no checkpoint yet."
    )
    assert runs.checkpoints(tmp_path) == []


def test_weights_that_are_not_finite_at_a_checkpoint_are_not_saved(train, tmp_path, monkeypatch):
    # The metrics of a round are taken before its last update, so that update may be the one that breaks the weights.
    saved = []
    monkeypatch.setattr(checkpoints.Checkpoints, "save", lambda self, *_: saved.append(self._progress.env_steps) or 1)
    argv = ["--learning_rate=1e39", "--learning_rate_schedule=constant", "--checkpoint_period=40"]
    line = diverge(train, tmp_path, *argv, "--replay_ratio=0.025")
    assert line == (
        "the loss is not finite in the updates up to 1; lower --learning_rate or --clip_norm. "
        "There is no checkpoint yet."
    )
    assert saved == [40, 80, 120, 160, 200]


def test_kept_model_is_the_best_by_evaluation(train, tmp_path):
    train(tmp_path)
    means = [row["eval/return_mean"] for row in runs.rows(tmp_path, "eval/")]
    best = [400, 800, 1200][max(range(3), key=lambda i: (means[i], i))]
    assert runs.kept(runs.bits(tmp_path)) == runs.network(runs.bits(tmp_path, best)) != []

"""An environment that fails while a run trains: what was learned is saved, and the run resumes to the same result."""

import pytest

from tests import environments, runs

FLAGS = ["--env=tests.environments:Frail-v0", "--train_env_steps=800", "--eval_period=300", "--checkpoint_period=0"]


@pytest.fixture
def frail(monkeypatch, tmp_path):
    """Returns a function that makes the environments fail at their n-th step of all, once; 0 for never."""

    def fail_at(number):
        monkeypatch.setattr(environments.Frail, "steps", 0)
        monkeypatch.setenv("FRAIL_STEP", str(number))
        monkeypatch.setenv("FRAIL", str(tmp_path / f"failed at {number}"))

    return fail_at


@pytest.fixture(scope="module")
def left_alone(train, tmp_path_factory):
    """Returns the fingerprint of a run in which nothing fails."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRAIL_STEP", "0")
        patch.setenv("FRAIL", "none")
        logdir = tmp_path_factory.mktemp("failures") / "left alone"
        return runs.fingerprint(train(logdir, *FLAGS))


@pytest.mark.parametrize(
    "step, saved",
    [
        (101, 80),  # before the first update
        (307, 280),  # in a round whose updates were made
        (325, 320),  # in the evaluation at 320 env steps, of 3 episodes
    ],
)
def test_environment_that_raises_is_named_and_the_run_resumes_to_the_same(
    left_alone, train, frail, tmp_path, capsys, step, saved
):
    frail(step)
    train(tmp_path / "run", *FLAGS, code=1)
    assert runs.checkpoints(tmp_path / "run") == [saved]
    told = capsys.readouterr().err
    assert "RuntimeError: the simulator has crashed" in told and "/dqn_tf/" not in told
    train(tmp_path / "run", *FLAGS)
    found = runs.fingerprint(tmp_path / "run")
    for parts in (found, expected := dict(left_alone)):
        del parts["checkpoints"]
    assert found == expected


def test_environment_that_gives_nan_is_named_with_the_value(train, tmp_path, warnings):
    train(tmp_path, "--env=tests.environments:NaN-v0", code=1)
    assert runs.checkpoints(tmp_path) == [40]  # each of the environments has made 5 of its 8 steps
    assert warnings()[-1] == (
        "--env=tests.environments:NaN-v0: environment 0, episode 0, step 8: step returned the reward nan, which "
        "float32 cannot hold as a finite number"
    )


def test_environment_that_does_not_repeat_itself_is_named(train, tmp_path, warnings):
    argv = ["--env=tests.environments:Moody-v0", "--eval_max_episode_steps=3", "--train_env_steps=400"]
    train(tmp_path, *argv)
    train(tmp_path, *argv, "--train_env_steps=480")
    assert [line for line in warnings() if "does not repeat itself" in line] == [
        "resume: tests.environments:Moody-v0 does not repeat itself from the same seeds and actions; new episodes "
        "begin, and the run is not the one that an uninterrupted run would be"
    ]

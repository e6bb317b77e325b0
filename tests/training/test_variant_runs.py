"""A run of any variant that was cut off goes on to the same bits: priorities, noise, statistics, networks."""

import pytest

from dqn_tf.config import settings
from dqn_tf.training import loop
from tests import marks, runs, variants

# Of SMALL's rounds of 40 env steps; the rows and the checkpoints fall between one another.
FLAGS = ["--train_env_steps=640", "--learning_starts=160", "--checkpoint_period=280", "--eval_period=0"]
FLAGS += ["--final_eval_episodes=1", "--log_period=120", "--replay_capacity=400"]  # it wraps
SET = {flag.split("=")[0].removeprefix("--") for flag in [*runs.SMALL, *FLAGS]}
VARIANTS = {
    **variants.VARIANTS,
    **{name: values for kind in ("exploration", "replay") for name, values in variants.choices(kind).items()},
    "masks": {"env": "tests.environments:Mines-v0"},
}


class Gone(BaseException):
    """The process is no more."""


def cut(after_round):
    """Returns the end of a round, after which the run of 440 env steps is gone."""

    def end(self, number):
        after_round(self, number)
        if self._progress.env_steps == 440:
            raise Gone

    return end


# What the others keep is among these.
QUICK, JOINED = ("prioritized",), ("all", "maxmin", "rainbow", "boltzmann", "masks")
OTHERS = [name for name in VARIANTS if name not in QUICK + JOINED]


@pytest.mark.parametrize("name", [*QUICK, *marks.thorough(*JOINED), *marks.soak(*OTHERS)])
def test_run_that_was_cut_off_comes_to_the_same(train, tmp_path, monkeypatch, name):
    values = {key: value for key, value in VARIANTS[name].items() if key not in SET}
    argv = [*FLAGS, *(f"--{key}={settings.to_text(value)}" for key, value in values.items())]
    expected = runs.fingerprint(train(tmp_path / "whole", *argv))
    with monkeypatch.context() as patch, pytest.raises(Gone):
        patch.setattr(loop.Loop, "_after_round", cut(loop.Loop._after_round))
        train(tmp_path / "cut", *argv)
    train(tmp_path / "cut", *argv)
    assert runs.fingerprint(tmp_path / "cut") == expected

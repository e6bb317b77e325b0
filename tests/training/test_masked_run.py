"""Whole runs in an environment that raises where an action is not legal."""

import numpy as np
import pytest

from dqn_tf.persistence import manifest
from tests import marks, runs


@pytest.mark.parametrize("flag", ["--vectorization=async", *marks.thorough("--strategy=multiworker")])
def test_run_under_masks_takes_legal_actions_only(flag, tmp_path):
    argv = [*runs.SMALL, "--env=tests.environments:Mines-v0", "--eval_epsilon=0.3", flag, f"--logdir={tmp_path}"]
    done = runs.command(*argv)
    assert done.returncode == 0, done.stderr
    assert "actions: 6, the combinations of MultiDiscrete([2 3], start=[0 5])\n" in done.stderr
    assert "actions: only legal ones, because tests.environments:Mines-v0 gives action masks\n" in done.stderr
    summary = runs.read_json(tmp_path / "summary.json")
    assert (summary["eval_return_mean"], summary["eval_return_std"]) == (5.0, 0.0)
    root = tmp_path / "checkpoints"
    for worker in manifest.check(root, runs.checkpoints(tmp_path)[-1]).workers:
        held = runs.transitions(root, worker)
        legal = np.unpackbits(held["legal_tm1"], axis=-1, bitorder="little")[:, :6]
        assert np.take_along_axis(legal, held["a_tm1"][:, np.newaxis], axis=-1).all()
        assert legal.any(axis=-1).all() and 0.3 < legal.mean() < 0.8  # 5 of 6 with probability 0.4, one at least

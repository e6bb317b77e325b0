"""Checkpoints: what is saved is what comes back, and the learner goes on from it as if nothing had happened."""

import dataclasses
import pathlib

import numpy as np
import pytest

from dqn_tf import config
from dqn_tf.agent import learner as learner_lib
from dqn_tf.agent import networks
from dqn_tf.experience import accumulator
from dqn_tf.training import checkpoints

AGENT = config.Agent(
    optimizer="adam", learning_rate=0.01, learning_rate_schedule="linear", target_update_period=3, clip_norm=1.0
)
PROGRESS = checkpoints.Progress(
    env_steps=1200,
    num_episodes=34,
    wall_seconds=5.25,
    best_return=-7.5,
    threshold_env_steps=800,
    threshold_seconds=3.125,
)


class Run:
    """The parts of a run that a checkpoint holds; the initial weights are those of `seed`."""

    def __init__(self, placement, directory, seed, agent=AGENT):
        def build():
            return networks.build("mlp", (3,), np.dtype(np.float32), 2, hidden_units=(8,), seed=seed)

        self.learner = learner_lib.Learner(placement, build, agent, 4, 100, False)
        self.kept = build()
        self.progress = checkpoints.Progress()
        self.checkpoints = checkpoints.Checkpoints(pathlib.Path(directory), self.learner, self.kept, self.progress)

    def state(self):
        """Returns all that must come back, as bytes."""
        parts = (self.learner.network, self.learner.target, self.kept, self.learner.optimizer)
        arrays = [np.asarray(variable.numpy()) for part in parts for variable in part.variables]
        return [array.tobytes() for array in arrays], dataclasses.asdict(self.progress)


def batches(seed, num_updates=4, batch_size=4):
    generator, shape = np.random.default_rng(seed), (num_updates, batch_size)
    return accumulator.Transitions(
        s_tm1=generator.normal(size=(*shape, 3)).astype(np.float32),
        a_tm1=generator.integers(2, size=shape, dtype=np.int32),
        r_t=generator.normal(size=shape).astype(np.float32),
        discount_t=np.full(shape, 0.9, np.float32),
        s_t=generator.normal(size=(*shape, 3)).astype(np.float32),
    )


@pytest.fixture
def trained(placement, tmp_path):
    """Returns a run that has learned, kept an earlier network and counted."""
    run = Run(placement, tmp_path, seed=0)
    run.learner.update(batches(0))
    run.kept.set_weights(run.learner.weights())
    run.learner.update(batches(1))
    for field in dataclasses.fields(PROGRESS):
        setattr(run.progress, field.name, getattr(PROGRESS, field.name))
    return run


def test_restore_of_what_was_saved_brings_everything_back(trained, placement, tmp_path):
    trained.checkpoints.save()
    other = Run(placement, tmp_path, seed=5)
    before = other.state()
    path = other.checkpoints.restore()
    assert path == str(tmp_path / "ckpt-1200")
    assert other.state() == trained.state() != before
    assert other.progress == PROGRESS
    assert other.learner.num_updates == 8
    # The three networks are three, not copies of one.
    networks_ = (other.learner.network, other.learner.target, other.kept)
    assert len({network.get_weights()[0].tobytes() for network in networks_}) == 3


def test_restored_learner_goes_on_as_the_original_does_bit_for_bit(trained, placement, tmp_path):
    trained.checkpoints.save()
    other = Run(placement, tmp_path, seed=5)
    other.checkpoints.restore()
    for seed in (2, 3):
        mine, theirs = trained.learner.update(batches(seed)), other.learner.update(batches(seed))
        assert mine.tobytes() == theirs.tobytes()
        assert other.learner.learning_rate == trained.learner.learning_rate < AGENT.learning_rate
    assert other.state() == trained.state()
    assert other.learner.num_updates == 16


def test_restore_of_progress_before_any_evaluation_brings_none_back(placement, tmp_path):
    run = Run(placement, tmp_path, seed=0)
    run.progress.env_steps = 80
    run.checkpoints.save()
    other = Run(placement, tmp_path, seed=0)
    other.progress.best_return = 1.0
    other.checkpoints.restore()
    assert other.progress == checkpoints.Progress(env_steps=80)


def test_restore_where_there_is_nothing_returns_none_and_changes_nothing(placement, tmp_path):
    run = Run(placement, tmp_path, seed=0)
    before = run.state()
    assert (run.checkpoints.restore(), run.checkpoints.latest()) == (None, None)
    assert run.state() == before


def test_save_more_than_three_times_keeps_the_three_newest(placement, tmp_path):
    run = Run(placement, tmp_path, seed=0)
    for env_steps in (100, 200, 300, 400, 500):
        run.progress.env_steps = env_steps
        assert run.checkpoints.save() == run.checkpoints.latest() == str(tmp_path / f"ckpt-{env_steps}")
    assert sorted(path.name for path in tmp_path.glob("*.index")) == [f"ckpt-{n}.index" for n in (300, 400, 500)]


def test_restore_of_several_takes_the_newest(placement, tmp_path):
    run = Run(placement, tmp_path, seed=0)
    for env_steps in (100, 200):
        run.progress.env_steps = env_steps
        run.checkpoints.save()
    other = Run(placement, tmp_path, seed=0)
    other.checkpoints.restore()
    assert other.progress.env_steps == 200


def test_save_after_restore_keeps_the_newest_of_both_runs(placement, tmp_path):
    run = Run(placement, tmp_path, seed=0)
    for env_steps in (100, 200, 300):
        run.progress.env_steps = env_steps
        run.checkpoints.save()
    other = Run(placement, tmp_path, seed=0)
    other.checkpoints.restore()
    other.progress.env_steps = 400
    other.checkpoints.save()
    assert sorted(path.name for path in tmp_path.glob("*.index")) == [f"ckpt-{n}.index" for n in (200, 300, 400)]


def test_restore_of_another_optimizer_refuses(trained, placement, tmp_path):
    trained.checkpoints.save()
    other = Run(placement, tmp_path, seed=0, agent=dataclasses.replace(AGENT, optimizer="sgd"))
    with pytest.raises(AssertionError):
        other.checkpoints.restore()

"""Checkpoints: what is saved is what comes back, and the learner goes on from it as if nothing had happened."""

import dataclasses
import errno
import json
import pathlib

import numpy as np
import pytest

from dqn_tf.agent import actor
from dqn_tf.config import schema, settings
from dqn_tf.experience import accumulator, replay
from dqn_tf.persistence import (
    archive,
    checkpoints,
    locations,
    manifest,
    progress,
    replay_segments,
    run_directory,
    storage,
    worker_state,
)
from tests import making, marks

AGENT = schema.Learning(
    optimizer="adam", learning_rate=0.01, learning_rate_schedule="linear", target_update_period=3, clip_norm=1.0
)
CAPACITY = 50
PROGRESS = progress.Progress(
    env_steps=1200,
    num_episodes=34,
    wall_seconds=5.25,
    last_return=-8.5,
    evaluated_env_steps=1200,
    best_return=-7.5,
    threshold_env_steps=800,
    threshold_seconds=3.125,
    evaluation_due=True,
)


class Run:
    """The parts of a run that a checkpoint holds; the initial weights are those of `seed`."""

    def __init__(self, placement, directory, seed, agent=AGENT, num_kept=3, units=8):
        build = making.builder("mlp", (3,), np.float32, 2, hidden_units=(units,), seed=seed)
        self.root = pathlib.Path(directory)  # the checkpoints' own; what else a run keeps lies around it
        self.learner = making.make_learner(placement, build, agent, 4, 100)
        self.kept = build()
        self.progress = progress.Progress()
        self.replay = replay.Replay(CAPACITY, (3,), np.float32, np.random.default_rng(seed))
        segments = replay_segments.ReplaySegments(self.root, self.replay, 0, 1)
        run = run_directory.RunDirectory(str(self.root.parent))
        training = schema.Training(num_envs=2, round_env_steps=2, replay_capacity=CAPACITY)
        about = settings.to_json(schema.Config(training=training))
        kept = storage.Storage(locations.Locations(str(run.path)), run, "chief")
        self.checkpoints = checkpoints.Checkpoints(
            *(self.root, placement, self.learner, self.kept, 2, self.progress, segments, kept),
            *(num_kept, about, {}, {}),
        )

    def save(self, env_steps=None, last_return=None, evaluated=None):
        if env_steps is not None:
            self.progress.env_steps, self.progress.last_return = env_steps, last_return
            self.progress.best_return = last_return and max(last_return, self.progress.best_return or last_return)
            self.progress.evaluated_env_steps = last_return and evaluated
            self.progress.threshold_env_steps = self.progress.threshold_seconds = None
        return self.checkpoints.save(state_of(self), lambda: {"metrics.jsonl": 17})

    def restore(self):
        return self.checkpoints.restore(CAPACITY)

    def add(self, count):
        columns = batches(self.replay.num_added, 1, count)
        self.replay.add(accumulator.Transitions(*(column[0] for column in columns)))

    def state(self):
        """Returns all that must come back in place, as bytes."""
        parts = (self.learner.network, self.learner.target, self.kept, self.learner.optimizer)
        arrays = [np.asarray(variable.numpy()) for part in parts for variable in part.variables]
        held = self.replay.packed(self.replay.num_added - len(self.replay), self.replay.num_added)
        return (
            [array.tobytes() for array in arrays],
            dataclasses.asdict(self.progress),
            {name: column.tobytes() for name, column in held.items()},
            self.replay.num_added,
        )


def state_of(run):
    return worker_state.WorkerState(
        episodes=actor.Unfinished(
            episode=np.array([3, 5]),
            length=np.array([4, 0]),
            action=np.array([0, 1, 1, 0], np.int32),
            checksum=np.array([7, 2**32 - 1], np.uint32),
            exploration=[np.random.default_rng(seed).bit_generator.state for seed in (1, 2)],
        ),
        sampling=run.replay.generator.bit_generator.state,
        episode_rows=np.array([[40.0, 1.5, 12.0]]),
        round_metrics=np.full((2, 4), 0.5, np.float32),
        acting=run.kept.get_weights(),
    )


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
def tmp_path(tmp_path):
    """Returns the directory of the checkpoints of a run."""
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    return tmp_path / "run" / "checkpoints"


@pytest.fixture
def trained(placement, tmp_path):
    """Returns a run that has learned, kept an earlier network and counted, with a replay that has begun to wrap."""
    run = Run(placement, tmp_path, seed=0)
    run.learner.update(replay.Sample(batches(0)))
    run.kept.set_weights(run.learner.weights())
    run.learner.update(replay.Sample(batches(1)))
    run.add(70)
    for field in dataclasses.fields(PROGRESS):
        setattr(run.progress, field.name, getattr(PROGRESS, field.name))
    return run


# All that is saved comes back.


def test_restore_of_what_was_saved_brings_everything_back(trained, placement, tmp_path):
    assert trained.save()
    other = Run(placement, tmp_path, seed=5)
    before = other.state()
    restored = other.restore()
    assert (restored.path, restored.num_workers) == (tmp_path / "ckpt-1200", 1)
    assert restored.journal == {"metrics.jsonl": 17}
    assert other.state() == trained.state() != before
    assert other.progress == PROGRESS
    assert other.learner.num_updates == 8
    # The three networks are three, not copies of one.
    networks_ = (other.learner.network, other.learner.target, other.kept)
    assert len({network.get_weights()[0].tobytes() for network in networks_}) == 3


def test_restore_brings_the_workers_own_state_back(trained, placement, tmp_path):
    trained.save()
    mine, theirs = state_of(trained), Run(placement, tmp_path, seed=5).restore().worker
    for field in dataclasses.fields(mine):
        np.testing.assert_equal(getattr(theirs, field.name), getattr(mine, field.name))
    assert theirs.episodes.action.dtype == np.int32


def test_checkpoint_made_again_replaces_its_files_and_is_restored(trained, placement, tmp_path):
    trained.save()
    before = {path.name for path in (tmp_path / "ckpt-1200").iterdir()}
    trained.progress.evaluation_due = False
    trained.kept.set_weights(trained.learner.weights())
    assert trained.checkpoints.save(state_of(trained), lambda: {"metrics.jsonl": 17}, is_again=True)
    after = {path.name for path in (tmp_path / "ckpt-1200").iterdir()}
    assert {name for name in before - after} == {"worker-0-of-1.npz", "model.index", "model.data-00000-of-00001"}
    other = Run(placement, tmp_path, seed=5)
    other.restore()
    assert other.state() == trained.state()
    trained.add(CAPACITY)
    for env_steps in range(1280, 1600, 80):  # ends of rounds
        assert trained.save(env_steps, last_return=1.0, evaluated=env_steps)
    assert not (tmp_path / "ckpt-1200").exists()


def test_restored_learner_and_replay_go_on_as_the_originals_do_bit_for_bit(trained, placement, tmp_path):
    trained.save()
    other = Run(placement, tmp_path, seed=5)
    other.replay.generator.bit_generator.state = other.restore().worker.sampling
    for _ in range(2):
        samples = [run.replay.sample(2, 4) for run in (trained, other)]
        mine, theirs = (run.learner.update(sample)[0] for run, sample in zip((trained, other), samples, strict=True))
        assert mine.tobytes() == theirs.tobytes()
        assert other.learner.learning_rate == trained.learner.learning_rate < AGENT.learning_rate
        trained.add(7)
        other.add(7)
    assert other.state() == trained.state()
    assert other.learner.num_updates == 12


@pytest.mark.parametrize("counts", [(10, 0, 5), (60, 3, 49), (200, 1, 120)])
def test_replay_of_many_checkpoints_is_that_of_the_last(placement, tmp_path, counts):
    run = Run(placement, tmp_path, seed=0)
    for number, count in enumerate(counts, start=1):
        run.add(count)
        assert run.save(200 * number)
        other = Run(placement, tmp_path, seed=5)
        other.restore()
        assert other.state() == run.state()
        assert other.replay.sample(3, 5).transitions.s_t.shape == (3, 5, 3)
        run = other  # goes on from there


def test_replay_is_written_by_what_is_new(placement, tmp_path):
    run = Run(placement, tmp_path, seed=0)
    written = []
    for env_steps, count in zip((100, 200, 300, 400), (40, 3, 0, 8)):
        run.add(count)
        run.save(env_steps)
        files = (tmp_path / f"ckpt-{env_steps}").glob("replay-*.npz")
        written.append([len(archive.read(path)["a_tm1"]) for path in files])
    assert written == [[40], [3], [], [8]]


def test_restore_of_progress_before_any_evaluation_brings_none_back(placement, tmp_path):
    run = Run(placement, tmp_path, seed=0)
    run.save(80)
    other = Run(placement, tmp_path, seed=0)
    other.progress.best_return = 1.0
    other.restore()
    assert other.progress == progress.Progress(env_steps=80)


def test_restore_where_there_is_nothing_returns_none_and_changes_nothing(placement, tmp_path):
    run = Run(placement, tmp_path, seed=0)
    before = run.state()
    assert (run.restore(), run.checkpoints.latest()) == (None, None)
    assert run.state() == before


def test_restore_of_another_optimizer_refuses(trained, placement, tmp_path):
    trained.save()
    other = Run(placement, tmp_path, seed=0, agent=dataclasses.replace(AGENT, optimizer="sgd"))
    with pytest.raises(schema.ConfigError, match="no checkpoint is good: .*/ckpt-1200/model is none of this run: "):
        other.restore()


# Which are kept.


def test_save_more_often_than_are_kept_keeps_the_newest(placement, tmp_path):
    run = Run(placement, tmp_path, seed=0, num_kept=2)
    for env_steps in (100, 200, 300, 1000):
        assert run.save(env_steps)
        assert run.checkpoints.latest() == tmp_path / f"ckpt-{env_steps}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ckpt-1000", "ckpt-300"]


def test_save_keeps_the_best_by_evaluation_and_the_later_of_equals(placement, tmp_path):
    run = Run(placement, tmp_path, seed=0, num_kept=1)
    kept = []
    for env_steps, last_return in ((100, None), (200, 5.0), (300, 4.0), (400, 5.0), (500, 1.0)):
        run.save(env_steps, last_return, env_steps)
        kept.append(manifest.numbers(tmp_path))
    assert kept == [[100], [200], [200, 300], [400], [400, 500]]


def test_save_keeps_the_first_checkpoint_after_the_best_evaluation(placement, tmp_path):
    run = Run(placement, tmp_path, seed=0, num_kept=1)
    for env_steps in (100, 200, 300):
        run.save(env_steps, 5.0, 100)
    assert manifest.numbers(tmp_path) == [100, 300]


def test_files_of_the_replay_stay_as_long_as_a_checkpoint_needs_them(placement, tmp_path):
    run = Run(placement, tmp_path, seed=0, num_kept=1)
    for number in range(1, 8):
        env_steps = 20 * number
        run.add(20)
        run.save(env_steps)
        made = manifest.check(tmp_path, env_steps)
        needed = {file.path for file in made.files} | {f"ckpt-{env_steps}/manifest.json"}
        assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()} == needed
        assert len(made.workers[0].replay) == min(number, 3)  # of 20 transitions each, for 50


def test_save_after_restore_keeps_the_newest_of_both_runs(placement, tmp_path):
    run = Run(placement, tmp_path, seed=0)
    for env_steps in (100, 200, 300):
        run.save(env_steps)
    other = Run(placement, tmp_path, seed=0)
    other.restore()
    other.save(400)
    assert manifest.numbers(tmp_path) == [200, 300, 400]


def test_what_a_killed_save_left_is_cleared_by_the_next(placement, tmp_path):
    run = Run(placement, tmp_path, seed=0)
    run.save(100)
    (tmp_path / "ckpt-200").mkdir()
    (tmp_path / "ckpt-200" / "worker-0-of-1.npz").write_bytes(b"half")
    other = Run(placement, tmp_path, seed=0)
    assert other.restore().path == tmp_path / "ckpt-100"
    other.save(300)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ckpt-100", "ckpt-300"]


# Damage.


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 0x40
    path.write_bytes(content)


DAMAGES = {
    "flipped": lambda path: flip(path, path.stat().st_size // 2),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "empty": lambda path: path.write_bytes(b""),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize(
    "name, damage",
    [
        ("worker-0-of-1.npz", "flipped"),
        ("manifest.json", "cut"),
        *marks.thorough(
            ("manifest.json", "missing"),
            ("model.index", "empty"),
            ("model.data-00000-of-00001", "flipped"),
            ("model.data-00000-of-00001", "missing"),
            ("replay-0-of-1-20.npz", "longer"),
        ),
    ],
)
def test_damage_of_the_newest_is_named_and_the_one_before_is_used(placement, tmp_path, warnings, name, damage):
    run = Run(placement, tmp_path, seed=0)
    run.add(20)
    run.save(100)
    before = run.state()
    run.learner.update(replay.Sample(batches(3)))
    run.add(20)
    run.save(200)
    DAMAGES[damage](tmp_path / "ckpt-200" / name)
    other = Run(placement, tmp_path, seed=5)
    assert other.restore().path == tmp_path / "ckpt-100"
    assert other.state() == before
    (line,) = warnings()
    assert line.startswith(f"checkpoint {tmp_path / 'ckpt-200'} is damaged: ")
    assert name.removesuffix(".json") in line and "\n" not in line
    # It is not looked at again, and the run goes on over it.
    again = Run(placement, tmp_path, seed=5)
    assert again.restore().path == tmp_path / "ckpt-100"
    again.add(20)
    assert again.save(200)
    assert Run(placement, tmp_path, seed=5).restore().path == tmp_path / "ckpt-200"


@pytest.mark.thorough
def test_damage_at_random_places_of_any_file_is_never_loaded(trained, tmp_path):
    trained.save(100)
    made, generator = manifest.check(tmp_path, 100), np.random.default_rng(3)
    for file in made.files:
        path = tmp_path / file.path
        whole = path.read_bytes()
        for position in generator.integers(len(whole), size=200):
            path.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << position % 8]) + whole[position + 1 :])
            with pytest.raises(archive.Damaged) as error:
                manifest.check(tmp_path, 100)
            assert str(error.value) == f"{path} is not what was written: its checksum differs"
        path.write_bytes(whole)
    assert manifest.check(tmp_path, 100) == made


@pytest.mark.thorough
def test_every_flipped_bit_of_a_manifest_is_found(placement, tmp_path):
    run = Run(placement, tmp_path, seed=0)
    run.save(100)
    path = tmp_path / "ckpt-100" / "manifest.json"
    whole = path.read_bytes()
    for position in range(len(whole)):
        for bit in (0, 5):
            path.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << bit]) + whole[position + 1 :])
            with pytest.raises(archive.Damaged) as error:
                manifest.read(tmp_path, 100)
            assert str(path) in str(error.value)


@pytest.mark.parametrize("name", ["manifest.json", "worker-0-of-1.npz"])
def test_damage_of_all_is_refused_with_a_line_for_what_is_damaged(placement, tmp_path, name):
    run = Run(placement, tmp_path, seed=0)
    for env_steps in (100, 200):
        run.save(env_steps)
    for env_steps in (100, 200):
        flip(tmp_path / f"ckpt-{env_steps}" / name, 5)
    with pytest.raises(schema.ConfigError, match="no checkpoint is good") as error:
        Run(placement, tmp_path, seed=5).restore()
    (line,) = error.value.problems
    assert str(tmp_path / "ckpt-100") in line and str(tmp_path / "ckpt-200") in line


def test_loss_of_all_manifests_is_refused(placement, tmp_path):
    run = Run(placement, tmp_path, seed=0)
    run.save(100)
    (tmp_path / "ckpt-100" / "manifest.json").unlink()
    with pytest.raises(schema.ConfigError, match="no checkpoint is good.*ckpt-100"):
        Run(placement, tmp_path, seed=5).restore()


@pytest.mark.parametrize("path", ["/etc/passwd", "ckpt-100/../../secret", "a\\..\\b"])
def test_manifest_whose_paths_leave_the_directory_is_refused(placement, tmp_path, path):
    run = Run(placement, tmp_path, seed=0)
    run.save(100)
    made = manifest.read(tmp_path, 100)
    moved = dataclasses.replace(made, model=(dataclasses.replace(made.model[0], path=path), *made.model[1:]))
    manifest.commit(tmp_path, moved.env_steps, manifest.to_text(moved))
    with pytest.raises(archive.Damaged, match="its model is of other files"):
        manifest.check(tmp_path, 100)


def forge(root, name, **arrays):
    """Changes arrays of a file of the checkpoint of 200 env steps, and its checksums accordingly."""
    path = root / "ckpt-200" / name
    (old,) = [file for file in manifest.read(root, 200).files if file.path == f"ckpt-200/{name}"]
    if arrays:
        archive.write(path, {**archive.read(path), **arrays})
    new = archive.describe(root, path)
    tree = json.loads(manifest.location(root, 200).read_text())
    text = json.dumps(tree).replace(json.dumps(dataclasses.asdict(old)), json.dumps(dataclasses.asdict(new)))
    tree = json.loads(text)
    del tree["sha256"]
    manifest.location(root, 200).write_text(manifest._text(tree))


WORKER, REPLAY = "worker-0-of-1.npz", "replay-0-of-1-20.npz"  # of 2 environments with 2 actions; of 20 transitions
FORGERIES = [
    (WORKER, {"action": np.full(4, 2, np.int32)}),
    (REPLAY, {"a_tm1": np.full(20, -1, np.int32)}),
    (WORKER, {"state": np.array("[" * 10)}),
    (WORKER, {"episode_rows": np.array([[40.0, np.nan, 12.0]])}),
    (WORKER, {"round_metrics": np.zeros((2, 5), np.float32)}),
    (WORKER, {"action": np.zeros(3, np.int32)}),
    (WORKER, {"length": np.array([5, -1])}),
    (WORKER, {"length": np.array([201, 0]), "action": np.zeros(201, np.int32)}),
    (WORKER, {"episode_rows": np.array([[201.0, 1.5, 12.0]])}),
    (WORKER, {"episode": np.array([3, 2**62])}),
    (WORKER, {"acting_0": np.zeros((8, 3), np.float32)}),
    (REPLAY, {"a_tm1": np.zeros(20, np.int64)}),
    (REPLAY, {"r_t": np.full(20, np.nan, np.float32)}),
    (REPLAY, {"discount_t": np.full(20, 1.5, np.float32)}),
    (REPLAY, {"s_t": np.full((20, 3), np.inf, np.float32)}),
    (REPLAY, {"s_t": np.zeros((19, 3), np.float32)}),
    (REPLAY, {name: np.zeros((19, 3)[: 1 + name.startswith("s_")], np.float32) for name in ("s_t", "s_tm1", "r_t")}),
]


@pytest.mark.parametrize("name, arrays", [*FORGERIES[:2], *marks.thorough(*FORGERIES[2:])], ids=str)
def test_forged_arrays_with_right_checksums_are_named_and_the_one_before_is_used(
    placement, tmp_path, warnings, name, arrays
):
    run = Run(placement, tmp_path, seed=0)
    run.add(20)
    run.save(100)
    before = run.state()
    run.add(20)
    run.save(200)
    forge(tmp_path, name, **arrays)
    other = Run(placement, tmp_path, seed=5)
    assert other.restore().path == tmp_path / "ckpt-100"
    assert other.state() == before
    (line,) = warnings()
    assert line.startswith(f"checkpoint {tmp_path / 'ckpt-200'} is damaged: {tmp_path / 'ckpt-200' / name}")
    assert line.isprintable() and manifest.numbers(tmp_path) == [100]


@pytest.mark.thorough
def test_forged_model_with_right_checksums_is_named_and_the_one_before_is_used(placement, tmp_path, warnings):
    run, larger = Run(placement, tmp_path, seed=0), Run(placement, tmp_path.parent / "other", seed=0, units=9)
    run.save(100)
    before = run.state()
    for each in (run, larger):
        each.learner.update(replay.Sample(batches(1)))
        each.root.mkdir(exist_ok=True)
        each.save(200)
    infinite = [np.full_like(weights, np.inf) for weights in run.learner.weights()]
    for damage in ("foreign", "infinite"):
        if damage == "infinite":
            run.learner.network.set_weights(infinite)
            run.save(200)
        for name in ("model.index", "model.data-00000-of-00001"):
            if damage == "foreign":
                (tmp_path / "ckpt-200" / name).write_bytes((larger.root / "ckpt-200" / name).read_bytes())
                forge(tmp_path, name)
        other = Run(placement, tmp_path, seed=5)
        assert other.restore().path == tmp_path / "ckpt-100"
        assert other.state() == before
    assert [f"checkpoint {tmp_path}/ckpt-200 is damaged: {tmp_path}/ckpt-200/model" in line for line in warnings()] == [
        True,
        True,
    ]


def test_state_with_objects_is_refused_and_runs_nothing(tmp_path):
    class Evil:
        def __reduce__(self):
            return (pathlib.Path.touch, (tmp_path / "ran",))

    np.savez(tmp_path / "worker.npz", state=np.array([Evil()], object))
    with pytest.raises(archive.Damaged, match="allow_pickle"):
        archive.read(tmp_path / "worker.npz")
    assert not (tmp_path / "ran").exists()


# A disk that does not take it.


def fail(*arguments, **keywords):
    raise OSError(errno.ENOSPC, "No space left on device", "some/file")


@pytest.mark.parametrize("owner, name", [(archive, "write"), *marks.thorough((manifest, "commit"))])
def test_save_on_a_full_disk_warns_keeps_the_last_and_works_the_next_time(
    trained, placement, tmp_path, warnings, monkeypatch, owner, name
):
    assert trained.save(100)
    before = trained.state()
    trained.add(30)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fail)
        assert not trained.save(200)
    (line,) = warnings()
    assert line == (
        f"checkpoint {tmp_path / 'ckpt-200'} cannot be written: some/file: No space left on device; "
        f"the last one is {tmp_path / 'ckpt-100'}"
    )
    assert not (tmp_path / "ckpt-200").exists()
    other = Run(placement, tmp_path, seed=5)
    other.restore()
    assert other.state() == before
    trained.add(10)
    assert trained.save(300)
    other = Run(placement, tmp_path, seed=5)
    other.restore()
    assert other.state() == trained.state()


def test_save_where_the_directory_is_gone_makes_it_anew_and_whole(trained, placement, tmp_path):
    trained.save(100)
    for path in sorted(tmp_path.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    trained.add(5)
    assert trained.save(200)
    other = Run(placement, tmp_path, seed=5)
    other.restore()
    assert other.state() == trained.state()


def test_save_where_a_file_is_in_the_way_warns(trained, tmp_path, warnings):
    (tmp_path / "ckpt-100").write_text("")
    assert not trained.save(100)
    assert "there is none yet" in warnings()[0]


# Another number of workers.


def deal(tmp_path, counts, num_workers, capacity=40):
    """Saves the replays of len(counts) workers, of that many transitions, and returns what `num_workers` get."""
    workers = []
    for index, count in enumerate(counts):
        buffer = replay.Replay(capacity // len(counts), (1,), np.float32, np.random.default_rng(0))
        for start in range(0, count, 3):
            number = np.arange(start, min(start + 3, count)) * len(counts) + index
            column = number.astype(np.float32)
            given = (column[:, None], number.astype(np.int32), column, np.zeros_like(column), column[:, None])
            buffer.add(accumulator.Transitions(*given))
        place = tmp_path / f"ckpt-{index}"
        place.mkdir()
        segments = replay_segments.ReplaySegments(tmp_path, buffer, index, len(counts))
        held = segments.held(segments.write(place))
        workers.append(manifest.WorkerPart(archive.File("", 0, ""), buffer.num_added, held))
    dealt = []
    for index in range(num_workers):
        buffer = replay.Replay(capacity // num_workers, (1,), np.float32, np.random.default_rng(0))
        replay_segments.ReplaySegments(tmp_path, buffer, index, num_workers).restore(workers, capacity, 10**6)
        dealt.append(buffer.packed(0, len(buffer))["a_tm1"].tolist())
    return dealt


@pytest.mark.parametrize(
    "counts, num_workers",
    [((9, 9), 1), ((31, 31), 4), ((40,), 2), ((100,), 5), ((10, 10, 10, 10), 5), ((13, 13, 13, 13), 2)],
)
def test_replay_dealt_out_to_another_number_of_workers_loses_nothing(tmp_path, counts, num_workers):
    dealt = deal(tmp_path, counts, num_workers)
    share = 40 // len(counts)
    expected = sorted(
        number * len(counts) + index
        for index, count in enumerate(counts)
        for number in range(max(count - share, 0), count)
    )
    assert sorted(sum(dealt, [])) == expected
    sizes = [len(part) for part in dealt]
    assert max(sizes) - min(sizes) <= 1


def test_state_dealt_out_keeps_environments_in_order():
    def of(worker):
        numbers = range(2 * worker, 2 * worker + 2)
        return worker_state.WorkerState(
            episodes=actor.Unfinished(
                episode=np.array(numbers),
                length=np.array(numbers),
                action=np.array([number for number in numbers for _ in range(number)], np.int32),
                checksum=np.array(numbers, np.uint32),
                exploration=[{"number": number} for number in numbers],
            ),
            sampling={"worker": worker},
            episode_rows=np.full((1, 3), worker, np.float64),
            round_metrics=np.ones((2, 4), np.float32),
            acting=[np.ones(3)],
        )

    parts = worker_state.deal([of(0), of(1)], 4)
    assert [part.episodes.action.tolist() for part in parts] == [[], [1], [2, 2], [3, 3, 3]]
    for name in ("episode", "length", "checksum"):
        assert [getattr(part.episodes, name).tolist() for part in parts] == [[0], [1], [2], [3]]
    assert [part.episodes.exploration for part in parts] == [[{"number": n}] for n in range(4)]
    assert [part.sampling for part in parts] == [None] * 4
    assert [len(part.episode_rows) for part in parts] == [2, 0, 0, 0]
    assert [part.acting[0].tolist() for part in parts] == [[1.0] * 3] * 4
    (whole,) = worker_state.deal(parts, 1)
    assert whole.episodes.action.tolist() == [1, 2, 2, 3, 3, 3]
    assert whole.episodes.length.tolist() == [0, 1, 2, 3]


def test_manifest_holds_settings_and_versions(trained, tmp_path):
    trained.save()
    tree = json.loads((tmp_path / "ckpt-1200" / "manifest.json").read_text())
    assert tree["config"]["training"]["replay_capacity"] == CAPACITY
    assert {"format", "versions", "sha256", "progress", "workers", "model", "journal"} < tree.keys()

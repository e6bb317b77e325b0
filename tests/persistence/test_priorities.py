"""Priorities of a prioritized replay in a checkpoint: read back, checked, and dealt out to other workers."""

import numpy as np
import pytest

from dqn_tf.agent import actor
from dqn_tf.experience import accumulator, replay, sampling
from dqn_tf.persistence import archive, manifest, replay_segments, worker_state

CAPACITY = 40  # of all workers


def state(priorities):
    none = np.zeros(1, np.int64)
    exploration = [np.random.default_rng(0).bit_generator.state]
    episodes = actor.Unfinished(none, none, np.zeros(0, np.int32), np.zeros(1, np.uint32), exploration)
    rows = np.zeros((0, 3)), np.zeros((0, 4), np.float32)
    return worker_state.WorkerState(episodes, exploration[0], *rows, priorities=priorities)


def read(arrays, num_priorities=3):
    return worker_state.WorkerState.from_arrays(arrays, 1, 2, 100, 1, num_priorities)


def test_priorities_are_read_as_they_were_written():
    arrays = state(sampling.Priorities(np.array([0.1, 0, 3]), 3.0)).to_arrays()
    found = read(arrays).priorities
    assert (found.held.tolist(), float(found.largest)) == ([0.1, 0, 3], 3.0)


def test_state_of_a_uniform_replay_has_no_priorities():
    arrays = state(None).to_arrays()
    assert [name for name in arrays if "priorit" in name] == []
    assert read(arrays, None).priorities is None


@pytest.mark.parametrize(
    "name, value",
    [
        ("priorities", np.array([0.1, np.nan, 3])),
        ("priorities", np.array([0.1, np.inf, 3])),
        ("priorities", np.array([0.1, -1e-9, 3])),
        ("priorities", np.array([0.1, 0, 3, 3])),
        ("priorities", np.array([[0.1, 0, 3]])),
        ("priorities", np.array([0.1, 0, 3], np.float32)),
        ("priorities", np.array([0.1, 0, 3.5])),  # more than the largest so far
        ("priorities", None),
        ("largest_priority", np.array(np.inf)),
        ("largest_priority", np.array([3.0])),
        ("largest_priority", np.array("3")),
        ("largest_priority", None),
    ],
)
def test_priorities_when_damaged_are_invalid(name, value):
    arrays = state(sampling.Priorities(np.array([0.1, 0, 3]), 3.0)).to_arrays()
    del arrays[name]
    with pytest.raises(archive.Invalid):
        read(arrays if value is None else {**arrays, name: value})


def test_largest_priority_of_0_is_invalid():
    with pytest.raises(archive.Invalid):
        read(state(sampling.Priorities(np.zeros(3), 0.0)).to_arrays())


def priority_of(number):
    return number + 0.5


def saved(root, counts):
    """Returns what a manifest has of workers that have added so many transitions in all, and their priorities."""
    workers, priorities = [], []
    for index, count in enumerate(counts):
        share = CAPACITY // len(counts)
        buffer = replay.Replay(share, (), np.float32, np.random.default_rng(0), sampling.Prioritized(share, 1.0))
        segments = replay_segments.ReplaySegments(root, buffer, index, len(counts))
        place = root / f"ckpt-{index}"
        place.mkdir()
        for start in range(0, count, 3):
            number = np.arange(start, min(start + 3, count)) * len(counts) + index
            column = np.zeros(len(number), np.float32)
            buffer.add(accumulator.Transitions(column, number.astype(np.int32), column, column, column))
            segments.adopt(segments.held(segments.write(place)))
        part = manifest.WorkerPart(archive.File("", 0, ""), buffer.num_added, segments.held([]))
        numbers = buffer.packed(count - len(buffer), count)["a_tm1"]
        workers.append(part)
        priorities.append(sampling.Priorities(priority_of(numbers), 1000.0 + index))
    return workers, priorities


@pytest.mark.parametrize("counts, num_workers", [((31,), 1), ((50,), 1), ((100, 59), 2), ((31, 30), 4), ((95,), 5)])
def test_transitions_keep_their_priorities_when_dealt_out_to_any_number_of_workers(tmp_path, counts, num_workers):
    workers, priorities = saved(tmp_path, counts)
    share, dealt = CAPACITY // num_workers, []
    for index in range(num_workers):
        buffer = replay.Replay(share, (), np.float32, np.random.default_rng(0), sampling.Prioritized(share, 1.0))
        segments = replay_segments.ReplaySegments(tmp_path, buffer, index, num_workers)
        segments.restore(workers, CAPACITY, 10**6, priorities)
        numbers = buffer.packed(buffer.num_added - len(buffer), buffer.num_added)["a_tm1"]
        found = buffer.priorities()
        np.testing.assert_array_equal(found.held, priority_of(numbers))
        assert found.largest == 1000.0 + (index if num_workers == len(counts) else len(counts) - 1)
        dealt += found.held.tolist()
    assert sorted(dealt) == sorted(np.concatenate([one.held for one in priorities]).tolist())

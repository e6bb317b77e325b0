"""The buffer that stores each image once, in lockstep with the one that stores all of them."""

import functools

import hypothesis
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import strategies as st

from dqn_tf.experience import accumulator, frame_replay, planes, replay
from tests import marks

STACK = (4, 5, 6)
LAYOUTS = {
    "stack first": ((4, 5, 6), 0),
    "stack last": ((6, 5, 4), 2),
    "stack of pictures": ((3, 6, 5, 3), 0),
    "stack of words": ((2, 4, 6), 0),  # 24 bytes a plane, which is three words: nothing is filled up
    "picture": ((7, 5, 3), None),
    "grey picture": ((7, 5, 1), None),
    "plane": ((7, 5), None),
}


class Generator:
    """numpy.random.Generator.integers, or every index in turn."""

    def __init__(self, seed):
        self.generator, self.in_order = np.random.default_rng(seed), False

    def integers(self, high, size):
        if self.in_order:
            return np.arange(np.prod(size)).reshape(size) % high
        return self.generator.integers(high, size=size)


class Twins:
    """FrameReplay and Replay, given the same."""

    def __init__(self, capacity, shape, dtype=np.uint8):
        self.generators = Generator(3), Generator(3)
        self.frames = frame_replay.FrameReplay(capacity, shape, dtype, self.generators[0])
        self.naive = replay.Replay(capacity, shape, dtype, self.generators[1])

    def add(self, transitions):
        self.frames.add(transitions)
        self.naive.add(transitions)
        assert len(self.frames) == len(self.naive)

    def compare(self, num_batches=2, batch_size=3):
        batches = (buffer.sample(num_batches, batch_size).transitions for buffer in (self.frames, self.naive))
        for actual, expected in zip(*batches, strict=True):
            assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
            assert actual.tobytes() == expected.tobytes()

    def compare_all(self):
        for generator in self.generators:
            generator.in_order = True
        self.compare(1, len(self.naive))
        for generator in self.generators:
            generator.in_order = False

    def held(self):
        """Returns all transitions held, from the naive one."""
        self.generators[1].in_order = True
        transitions = accumulator.Transitions(*(x[0] for x in self.naive.sample(1, len(self.naive)).transitions))
        self.generators[1].in_order = False
        return transitions


def num_distinct_planes(transitions):
    """Returns how many different planes there are in transitions of stacks [M, C, *plane]."""
    return len({plane.tobytes() for stack in (*transitions.s_tm1, *transitions.s_t) for plane in stack})


def make_transitions(observation):
    """Returns transitions of observation [2, M, *obs], the other columns numbered."""
    number = np.arange(observation.shape[1])
    return accumulator.Transitions(
        s_tm1=observation[0],
        a_tm1=number.astype(np.int32),
        r_t=(number * 2).astype(np.float32),
        discount_t=(number * 3).astype(np.float32),
        s_t=observation[1],
    )


def random_transitions(generator, num, shape, dtype=np.uint8):
    return make_transitions(generator.integers(0, 256, (2, num, *shape)).astype(dtype))


def split(transitions, sizes):
    """Yields transitions in parts of these sizes, in turn, until none is left."""
    start, turn = 0, 0
    while start < len(transitions.r_t):
        stop = start + sizes[turn % len(sizes)]
        yield accumulator.Transitions(*(column[start:stop] for column in transitions))
        start, turn = stop, turn + 1


class StackedGame:
    """An environment that stacks its planes, of which some are blank; the others are all different."""

    def __init__(self, layout, padding, seed, blank=1 / 8):
        shape, self.axis = LAYOUTS[layout]
        self.padding, self.blank = padding, blank
        self.num_planes = shape[self.axis] if self.axis is not None else 1
        self.plane_shape = shape if self.axis is None else shape[: self.axis] + shape[self.axis + 1 :]
        self.generator = np.random.default_rng(seed)

    def reset(self):
        first = self.plane()
        padded = np.zeros_like(first) if self.padding == "zeros" else first
        self.planes = [padded] * (self.num_planes - 1) + [first]
        return self.observation()

    def step(self):
        self.planes = [*self.planes[1:], self.plane()]
        return self.observation()

    def plane(self):
        plane = self.generator.integers(0, 256, self.plane_shape, np.uint8)
        return np.zeros_like(plane) if self.generator.random() < self.blank else plane

    def observation(self):
        return self.planes[0] if self.axis is None else np.stack(self.planes, self.axis)


def play(games, num_steps, ends):
    """Returns Steps [T, N, ...] of these games.

    Args:
      ends: [T, N] of "" where the game goes on, "terminated" or "truncated" where it ends, "life" where it says
        terminated and goes on.
    """
    current = [game.reset() for game in games]
    observation, next_observation = [], []
    for t in range(num_steps):
        after = [game.step() for game in games]
        observation.append(current)
        next_observation.append(after)
        current = [game.reset() if ends[t][n][:1] == "t" else after[n] for n, game in enumerate(games)]
    number = np.arange(num_steps * len(games)).reshape(num_steps, len(games))
    return accumulator.Steps(
        observation=np.array(observation),
        action=number.astype(np.int32),
        reward=np.sin(number).astype(np.float32),
        terminated=np.isin(ends, ["terminated", "life"]),
        truncated=np.isin(ends, ["truncated"]),
        next_observation=np.array(next_observation),
    )


def noted(buffer, steps):
    """Returns Steps that have numbers of planes in place of observations, as an actor notes them."""
    numbers = [(buffer.noted(before), buffer.noted(after)) for before, after in zip(steps[0], steps[5], strict=True)]
    before, after = (np.stack(one) for one in zip(*numbers, strict=True))
    return steps._replace(observation=before, next_observation=after)


class NotingTwins(Twins):
    """FrameReplay of noted steps, and Replay of observations."""

    def __init__(self, capacity, shape, n_step):
        super().__init__(capacity, shape)
        self.collectors = [accumulator.Accumulator(n_step, 0.9) for _ in range(2)]

    def play(self, steps):
        noting, plain = self.collectors
        self.frames.add(noting.add(noted(self.frames, steps)))
        self.frames.keep_noted(noting.waiting)
        self.naive.add(plain.add(steps))
        assert len(self.frames) == len(self.naive)


def rows(steps, start, stop):
    return accumulator.Steps(*(column[start:stop] for column in steps))


# n_step, environments, padding: of each layout one, of the usual one all that differ.
PLAYED = [(1, 1, "zeros"), (3, 2, "repeat"), (5, 8, "zeros"), (1, 8, "repeat"), (3, 1, "zeros"), (5, 2, "repeat")]


@pytest.mark.parametrize(
    "layout, n_step, num_envs, padding",
    [
        *((layout, *PLAYED[i % len(PLAYED)]) for i, layout in enumerate(LAYOUTS)),
        *(("stack first", *played) for played in PLAYED[1:]),
    ],
)
def test_frame_replay_when_games_are_played_holds_what_replay_holds(layout, n_step, num_envs, padding):
    generator = np.random.default_rng(n_step)
    ends = generator.choice(["", "terminated", "truncated", "life"], (60, num_envs), p=[0.85, 0.05, 0.05, 0.05])
    steps = play([StackedGame(layout, padding, n) for n in range(num_envs)], 60, ends)
    collector, twins = accumulator.Accumulator(n_step, 0.9), Twins(41, LAYOUTS[layout][0])
    for start in range(0, 60, 6):
        twins.add(collector.add(rows(steps, start, start + 6)))
        if len(twins.naive):
            twins.compare()
    twins.compare_all()


@pytest.mark.parametrize("fingerprints", ["as they are", "three", "all equal"])
@pytest.mark.parametrize(
    "layout, n_step, num_envs, padding", [(layout, *PLAYED[i % len(PLAYED)]) for i, layout in enumerate(LAYOUTS)]
)
def test_frame_replay_of_noted_games_holds_what_replay_holds(
    monkeypatch, layout, n_step, num_envs, padding, fingerprints
):
    make_bad(monkeypatch, fingerprints)
    generator = np.random.default_rng(n_step)
    ends = generator.choice(["", "terminated", "truncated", "life"], (60, num_envs), p=[0.85, 0.05, 0.05, 0.05])
    steps = play([StackedGame(layout, padding, n, blank=1 / 3) for n in range(num_envs)], 60, ends)
    twins = NotingTwins(41, LAYOUTS[layout][0], n_step)
    for start in range(0, 60, 6):
        twins.play(rows(steps, start, start + 6))
        twins.compare_all()
        if fingerprints == "as they are":
            stack = functools.partial(np.moveaxis, source=1 + (LAYOUTS[layout][1] or 0), destination=1)
            held = twins.held()
            if LAYOUTS[layout][1] is None:
                held = held._replace(s_tm1=held.s_tm1[:, np.newaxis], s_t=held.s_t[:, np.newaxis])
            else:
                held = held._replace(s_tm1=stack(held.s_tm1), s_t=stack(held.s_t))
            assert twins.frames.num_frames == num_distinct_planes(held)
    assert len(twins.frames._slot_of) <= num_envs * (n_step + 2 * 6)  # forgets what nobody will name


def test_noted_looks_for_new_planes_alone(monkeypatch):
    buffer, seen, real = frame_replay.FrameReplay(9, STACK, np.uint8, np.random.default_rng(0)), [], planes.fingerprints
    monkeypatch.setattr(planes, "fingerprints", lambda words: seen.append(len(words)) or real(words))
    games = [StackedGame("stack first", "zeros", n, blank=0) for n in range(8)]
    steps = play(games, 50, np.full((50, 8), ""))
    for observations in (steps.observation[0], *steps.next_observation):
        buffer.noted(observations)
    assert seen == [8 * 4] + [8] * 50


@pytest.mark.parametrize("end, n_step", [("terminated", 1), ("terminated", 3), ("truncated", 3), ("life", 3)])
def test_frame_replay_when_an_episode_ends_anywhere_holds_what_replay_holds(n_step, end):
    for at in range(12):
        ends = np.full((12, 2), "", "U10")
        ends[at, 1] = end  # The game beside it goes on.
        steps = play([StackedGame("stack first", "zeros", n) for n in range(2)], 12, ends)
        collector, twins = accumulator.Accumulator(n_step, 0.9), Twins(7, STACK)
        for start in range(12):
            twins.add(collector.add(rows(steps, start, start + 1)))
            if len(twins.naive):
                twins.compare_all()
        assert twins.frames.num_frames == num_distinct_planes(twins.held())


def make_bad(monkeypatch, fingerprints):
    """Makes fingerprints of which few differ."""
    if fingerprints != "as they are":
        real, modulus = planes.fingerprints, np.uint64(1 if fingerprints == "all equal" else 3)
        monkeypatch.setattr(planes, "fingerprints", lambda words: real(words) % modulus)


@pytest.mark.parametrize(
    "fingerprints, window, chunk",
    [
        ("as they are", 1, 1),
        ("all equal", 5, frame_replay.CHUNK_NBYTES),
        ("all equal", frame_replay._WINDOW, 1),
        ("three", 1, frame_replay.CHUNK_NBYTES),
    ],
)
def test_frame_replay_when_hints_are_bad_holds_what_replay_holds(monkeypatch, fingerprints, window, chunk):
    make_bad(monkeypatch, fingerprints)
    monkeypatch.setattr(frame_replay, "_WINDOW", window)
    monkeypatch.setattr(frame_replay, "CHUNK_NBYTES", chunk)
    twins, generator = Twins(9, STACK), np.random.default_rng(0)
    palette = generator.integers(0, 256, (6, *STACK[1:]), np.uint8)
    for count in (1, 4, 2, 8, 20, 3, 9):
        twins.add(make_transitions(palette[generator.integers(6, size=(2, count, 4))]))
        twins.compare_all()


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(
    st.integers(1, 12),
    st.lists(st.integers(0, 15), min_size=1, max_size=8),
    st.integers(1, 9),
    st.integers(0, 2**32 - 1),
)
def test_frame_replay_when_planes_come_in_any_order_holds_each_once(capacity, counts, num_colours, seed):
    twins, generator = Twins(capacity, (3, 2, 4)), np.random.default_rng(seed)
    palette = generator.integers(0, 256, (num_colours, 2, 4), np.uint8)
    for count in counts:
        twins.add(make_transitions(palette[generator.integers(num_colours, size=(2, count, 3))]))
        if len(twins.naive):
            twins.compare()
            twins.compare_all()
            assert twins.frames.num_frames == num_distinct_planes(twins.held())


@st.composite
def games(draw):
    """Returns Steps of 1 to 3 games of 1 to 30 steps, n_step and a capacity."""
    shape = draw(st.integers(1, 30)), draw(st.integers(1, 3))
    flag = st.sampled_from([""] * 6 + ["terminated", "truncated", "life"])
    ends = np.array([draw(st.lists(flag, min_size=shape[1], max_size=shape[1])) for _ in range(shape[0])])
    padding = draw(st.sampled_from(["zeros", "repeat"]))
    players = [StackedGame("stack first", padding, draw(st.integers(0, 99))) for _ in range(shape[1])]
    return play(players, shape[0], ends), draw(st.integers(1, 5)), draw(st.integers(1, 40))


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(games(), st.lists(st.integers(1, 20), min_size=1, max_size=4))
def test_frame_replay_when_games_are_split_in_any_way_holds_what_replay_holds(game, sizes):
    steps, n_step, capacity = game
    twins = Twins(capacity, STACK)
    for part in split(accumulator.Accumulator(n_step, 0.9).add(steps), sizes):
        twins.add(part)
        twins.compare()
    if len(twins.naive):
        twins.compare_all()
        assert twins.frames.num_frames == num_distinct_planes(twins.held())


@pytest.mark.parametrize("counts", [[1] * 8, [5, 5, 1], [0, 2, 0, 9, 0], [4, 12, 3]])
@pytest.mark.parametrize("chunk", [1, frame_replay.CHUNK_NBYTES])
def test_add_when_the_ring_wraps_keeps_the_newest_in_the_places_of_replay(monkeypatch, chunk, counts):
    monkeypatch.setattr(frame_replay, "CHUNK_NBYTES", chunk)
    twins, generator = Twins(5, STACK), np.random.default_rng(0)
    for count in counts:
        twins.add(random_transitions(generator, count, STACK))
        if len(twins.naive):
            twins.compare_all()


@pytest.mark.parametrize(
    "shape, dtype", [((), np.float64), ((3,), np.float32), ((2, 3), np.int16), ((5, 3, 2), np.int16)]
)
def test_frame_replay_of_other_dtypes_and_shapes_holds_what_replay_holds(shape, dtype):
    twins, generator = Twins(5, shape, dtype), np.random.default_rng(0)
    for count in (3, 4):
        twins.add(random_transitions(generator, count, shape, dtype))
        twins.compare_all()


def test_frame_replay_when_values_are_equal_but_not_their_bytes_keeps_the_bytes():
    twins = Twins(4, (1, 2), np.float32)
    observation = np.float32([[0.0, np.nan], [-0.0, np.nan], [-0.0, -np.nan], [0.0, 1.0]]).reshape(2, 2, 1, 2)
    twins.add(make_transitions(observation))
    twins.compare_all()
    assert twins.frames.num_frames == 4


@pytest.mark.parametrize(
    "layout, padding", [("stack first", "zeros"), ("stack last", "repeat"), ("stack of pictures", "zeros")]
)
def test_num_frames_when_games_are_stacked_is_one_a_step_and_one_a_reset(layout, padding):
    ends = np.full((50, 4), "", "U10")
    ends[[9, 20, 49], [0, 1, 1]], ends[30, 2], ends[31, 3] = "terminated", "truncated", "life"
    buffer = frame_replay.FrameReplay(1000, LAYOUTS[layout][0], np.uint8, np.random.default_rng(0))
    four = [StackedGame(layout, padding, n, blank=0) for n in range(4)]
    buffer.add(accumulator.Accumulator(1, 0.9).add(play(four, 50, ends)))
    # The reset after the last step is in no transition.
    assert buffer.num_frames == 50 * 4 + 4 + (4 - 1) + (padding == "zeros")


def test_num_frames_when_the_buffer_is_full_stays_as_it_is():
    buffer = frame_replay.FrameReplay(50, STACK, np.uint8, np.random.default_rng(0))
    steps = play([StackedGame("stack first", "zeros", 0, blank=0)], 400, np.full((400, 1), ""))
    for part in split(accumulator.Accumulator(1, 0.9).add(steps), [10]):
        buffer.add(part)
    assert buffer.num_frames == 50 + 4  # the oldest stack has 4
    assert len(buffer._use_count) <= 50 + 4 + 10 + 1  # and 10 were added before 10 were dropped


def test_num_frames_when_planes_have_one_bright_pixel_is_one_for_each():
    buffer = frame_replay.FrameReplay(1500, (27, 37), np.uint8, np.random.default_rng(0))
    planes = np.eye(27 * 37, dtype=np.uint8).reshape(-1, 27, 37)
    for _ in range(2):
        buffer.add(make_transitions(np.stack((planes, planes[::-1]))))
    assert buffer.num_frames == 27 * 37


def test_nbytes_grows_with_the_frames_in_steps_of_one_percent():
    buffer = frame_replay.FrameReplay(1000, (80, 80), np.uint8, np.random.default_rng(0))
    generator, empty, sizes = np.random.default_rng(0), buffer.nbytes, []
    for _ in range(11):
        buffer.add(random_transitions(generator, 1, (80, 80)))  # 2 planes
        sizes.append(round((buffer.nbytes - empty) / (10 * (6400 + 4 + 4))))  # a fingerprint is too small to be seen
    assert sizes == [1] * 5 + [2] * 5 + [3]


def test_add_when_the_caller_reuses_its_arrays_keeps_its_own():
    twins = Twins(4, STACK)
    transitions = random_transitions(np.random.default_rng(0), 3, STACK)
    twins.add(transitions)
    for array in transitions:
        array[...] = 99
    twins.compare_all()


def test_add_when_the_arrays_are_not_contiguous_reads_them_right():
    twins, generator = Twins(8, STACK), np.random.default_rng(0)
    observation = generator.integers(0, 256, (5, 6, 4, 2, 6), np.uint8).transpose(3, 1, 2, 0, 4)  # [2, 6, 4, 5, 6]
    twins.add(make_transitions(observation))
    twins.compare_all()


def test_add_when_bool_is_given_stores_it_as_uint8():
    twins = Twins(4, STACK)
    twins.add(random_transitions(np.random.default_rng(0), 3, STACK, bool))
    twins.compare_all()


@pytest.mark.parametrize("column", ["s_tm1", "s_t"])
def test_add_when_observations_are_of_another_kind_raises_and_changes_nothing(column):
    twins, generator = Twins(4, STACK), np.random.default_rng(0)
    twins.add(random_transitions(generator, 3, STACK))
    bad = random_transitions(generator, 3, STACK)
    with pytest.raises(TypeError, match="float"):
        twins.frames.add(bad._replace(**{column: getattr(bad, column).astype(np.float32)}))
    twins.compare_all()
    assert twins.frames.num_frames == num_distinct_planes(twins.held())
    twins.add(random_transitions(generator, 3, STACK))
    twins.compare_all()


def test_add_when_memory_is_full_raises_one_line_and_changes_nothing(monkeypatch):
    def grow(num_slots):
        raise MemoryError("anything")

    twins, generator = Twins(100, STACK), np.random.default_rng(0)
    twins.add(random_transitions(generator, 1, STACK))
    with monkeypatch.context() as patch, pytest.raises(MemoryError) as error:
        patch.setattr(twins.frames._frames, "grow", grow)
        twins.frames.add(random_transitions(generator, 1, STACK))
    # 8 planes of 30 bytes were held in as many frames; 8 more are needed.
    assert str(error.value) == "The replay buffer holds 1 transitions and cannot grow to 16 frames of 32 bytes."
    twins.compare_all()
    for _ in range(3):
        twins.add(random_transitions(generator, 50, STACK))
        twins.compare_all()


def test_sample_when_changed_leaves_the_buffer_alone():
    twins = Twins(4, STACK)
    twins.add(random_transitions(np.random.default_rng(0), 3, STACK))
    for array in twins.frames.sample(1, 8).transitions:
        array[...] = 99
    twins.compare_all()


def test_sample_gives_contiguous_arrays_of_its_own():
    for shape, _ in LAYOUTS.values():
        buffer = frame_replay.FrameReplay(4, shape, np.uint8, np.random.default_rng(0))
        buffer.add(random_transitions(np.random.default_rng(0), 3, shape))
        batch = buffer.sample(2, 5).transitions
        assert [x.shape for x in batch] == [(2, 5, *shape), (2, 5), (2, 5), (2, 5), (2, 5, *shape)]
        assert all(x.flags.c_contiguous and x.flags.writeable for x in batch)


def test_sample_when_empty_raises():
    buffer = frame_replay.FrameReplay(4, STACK, np.uint8, np.random.default_rng(0))
    with pytest.raises(ValueError, match="The replay buffer is empty; add transitions before sampling."):
        buffer.sample(1, 1)


@pytest.mark.parametrize(
    "shape, dtype, kind",
    [
        ((4, 84, 84), np.uint8, frame_replay.FrameReplay),
        ((84, 84), "uint8", frame_replay.FrameReplay),
        ((10, 10, 4), np.uint8, frame_replay.FrameReplay),
        ((128,), np.uint8, replay.Replay),
        ((4,), np.float32, replay.Replay),
        ((10, 10, 4), np.float32, replay.Replay),
    ],
)
def test_create_when_observations_are_images_shares_frames(shape, dtype, kind):
    buffer = frame_replay.create(7, shape, dtype, np.random.default_rng(0))
    assert type(buffer) is kind
    for count in (5, 5):
        buffer.add(random_transitions(np.random.default_rng(0), count, shape, dtype))
    assert len(buffer) == 7


@pytest.mark.parametrize("shape, dtype", [((4,), np.float32), ((4, 84, 84), np.uint8), ((), np.float64)])
def test_expected_nbytes_of_replay_is_what_it_takes(shape, dtype):
    buffer = replay.Replay(10, shape, dtype, np.random.default_rng(0))
    assert replay.Replay.expected_nbytes(10, shape, dtype) == buffer.nbytes


def test_expected_nbytes_of_a_million_atari_transitions_is_visible_arithmetic():
    # A frame and its two counters for a transition and 1 % more; 2 x 4 slots, action, reward and discount.
    expected = 1_010_000 * (84 * 84 + 4 + 4) + 1_000_000 * (2 * 4 * 4 + 4 + 4 + 4)
    assert frame_replay.FrameReplay.expected_nbytes(1_000_000, (4, 84, 84), np.uint8) == expected
    assert expected < 7.3e9


@pytest.mark.parametrize("counts", [[2], [4, 3], [1, 4, 4]])
def test_overwritten_tells_what_the_next_add_takes_away(counts):
    buffer, added = replay.Replay(4, (), np.float32, np.random.default_rng(0)), []
    for count in counts:
        transitions = make_transitions(np.arange(2 * count, dtype=np.float32).reshape(2, count) + 10 * len(added))
        buffer.add(transitions)
        added.extend(transitions.s_t)
    held = added[-4:]
    for num_new in (0, 1, 3, 4):
        assert list(buffer.overwritten(num_new).s_t) == held[: max(len(held) + num_new - 4, 0)]


def play_atari(game, num_envs, num_steps, **protocol):
    """Yields Steps [25, N, ...] of a real game with random actions; a lost life counts as terminated."""
    ale = pytest.importorskip("ale_py.vector_env")
    envs = ale.AtariVectorEnv(game, num_envs, num_threads=1, autoreset_mode=AutoresetMode.SAME_STEP, **protocol)
    generator, taken = np.random.default_rng(1), []
    observation, infos = envs.reset(seed=1)
    for _ in range(num_steps):
        action = generator.integers(envs.single_action_space.n, size=num_envs, dtype=np.int32)
        following, reward, terminated, truncated, now = envs.step(action)
        ended = (terminated | truncated)[:, np.newaxis, np.newaxis, np.newaxis]
        last = np.where(ended, now["final_obs"], following) if ended.any() else following
        terminated = terminated | (now["lives"] < infos["lives"])
        taken.append((observation, action, reward.astype(np.float32), terminated, truncated, last))
        observation, infos = following, now
        if len(taken) == 25:
            yield accumulator.Steps(*map(np.stack, zip(*taken, strict=True)))
            taken = []
    envs.close()


MACHADO = {"repeat_action_probability": 0.25, "noop_max": 0, "use_fire_reset": False}


@pytest.mark.parametrize(
    "game, protocol, n_step", [("breakout", {"noop_max": 31}, 3), *marks.thorough(("pong", MACHADO, 1))]
)
def test_frame_replay_when_whole_games_are_played_holds_what_replay_holds(game, protocol, n_step):
    twins, num_ends = NotingTwins(1501, (4, 84, 84), n_step), 0
    for steps in play_atari(game, 2, 1100, max_num_frames_per_episode=4 * 950, **protocol):
        twins.play(steps)
        twins.compare(1, 8)
        num_ends += np.count_nonzero(steps.terminated | steps.truncated)
    twins.compare_all()
    assert num_ends >= 2
    assert twins.frames.num_frames == num_distinct_planes(twins.held()) <= 1501 + num_ends + 2 * 4 + n_step


@pytest.mark.thorough
def test_nbytes_when_pong_is_played_is_a_frame_a_transition():
    buffer = frame_replay.FrameReplay(20_000, (4, 84, 84), np.uint8, np.random.default_rng(0))
    collector, num_ends = accumulator.Accumulator(1, 0.99), 0
    for steps in play_atari("pong", 8, 2500):
        buffer.add(collector.add(steps))
        num_ends += np.count_nonzero(steps.terminated | steps.truncated)
    assert len(buffer) == 20_000
    # One for a step, one for a reset, and the blank one.
    assert buffer.num_frames <= 20_000 + 8 + num_ends + 1
    assert buffer.nbytes <= 20_000 * 7300 + 200 * (84 * 84 + 8)  # 200 frames are 1 %, the step of growth
    # Some 5 % of Pong's pictures are those of a moment ago, such as the wait for the ball.
    expected = frame_replay.FrameReplay.expected_nbytes(20_000, (4, 84, 84), np.uint8)
    assert 0.9 * expected < buffer.nbytes < 1.03 * expected


@pytest.mark.parametrize("kind", [replay.Replay, frame_replay.FrameReplay])
def test_replay_of_masked_transitions_keeps_masks_with_their_rows(kind):
    made = random_transitions(np.random.default_rng(0), 11, (4, 6, 5))
    made = made._replace(discount_t=made.discount_t / 30)
    number = made.a_tm1.astype(np.uint8)
    bits = np.stack((number, number + 100), axis=-1)
    transitions = accumulator.MaskedTransitions(*made, bits, bits + 50)
    buffers = [kind(7, (4, 6, 5), np.uint8, np.random.default_rng(1), mask_nbytes=2) for _ in range(2)]
    for part in split_masked(transitions, 3):  # wraps
        buffers[0].add(part)
    buffers[1].begin_at(4)
    buffers[1].add_packed(buffers[0].packed(4, 11), slice(None))
    for buffer in buffers:
        sample = buffer.sample(3, 40).transitions
        row = sample.a_tm1  # [3, 40]
        assert set(row.ravel()) == set(range(4, 11))
        for column, expected in zip(sample, transitions, strict=True):
            np.testing.assert_array_equal(column, expected[row], strict=True)
    lost = buffers[0].overwritten(2)
    np.testing.assert_array_equal(lost.legal_t, transitions.legal_t[4:6])


def split_masked(transitions, size):
    for start in range(0, len(transitions.r_t), size):
        yield transitions._make(column[start : start + size] for column in transitions)


def test_replay_without_masks_has_the_columns_it_always_had():
    made = functools.partial(replay.Replay, 3, (2,), np.float32, np.random.default_rng(0))
    plain, masked = made(), made(mask_nbytes=2)
    assert masked.nbytes == plain.nbytes + 3 * 2 * 2 == replay.Replay.expected_nbytes(3, (2,), np.float32, 2)
    assert [*plain.packed(0, 0)] == ["s_tm1", "a_tm1", "r_t", "discount_t", "s_t"]
    with pytest.raises(KeyError, match="legal_tm1"):
        masked.unpacked(plain.packed(0, 0))


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(st.integers(1, 40), st.lists(st.sampled_from("ncpr"), min_size=1, max_size=12), st.integers(0, 99))
def test_frame_replay_of_noted_games_among_other_calls_holds_what_replay_holds(capacity, calls, seed):
    games = [StackedGame("stack first", "zeros", seed + n) for n in range(2)]
    twins = NotingTwins(capacity, STACK, 3)
    generator = np.random.default_rng(seed)
    for call in calls:
        if call == "n":
            twins.play(play(games, 6, generator.choice(["", "terminated"], (6, 2), p=[0.8, 0.2])))
        elif call == "c":
            twins.frames.clear()
            twins.naive.clear()
        elif call == "p" and len(twins.naive):
            numbers = twins.naive.num_added - len(twins.naive), twins.naive.num_added
            for buffer in (twins.frames, twins.naive):
                packed = buffer.packed(*numbers)
                packed["discount_t"] = np.ones_like(packed["discount_t"])
                buffer.clear()
                buffer.add_packed(packed, slice(None))
        elif call == "r":
            twins.add(random_transitions(generator, 3, STACK))
        if len(twins.naive):
            twins.compare_all()


def test_frame_replay_refuses_observations_of_int64():
    buffer = frame_replay.FrameReplay(4, STACK, np.uint8, np.random.default_rng(0))
    with pytest.raises(TypeError):
        buffer.add(random_transitions(np.random.default_rng(0), 3, STACK, np.int64))

"""Atari games: what the two protocols do, checked on games that are played."""

import numpy as np
import pytest
from gymnasium import spaces

from dqn_tf.config import schema
from dqn_tf.environment import atari, spec
from tests import marks
from tests.environment.scripted import assert_plays_again, seeds

pytest.importorskip("ale_py")

NATURE = schema.Atari(atari_protocol="nature")
MACHADO = schema.Atari(atari_protocol="machado")
NUM_STEPS = 300  # some games of Breakout, of 5 lives each, end in so many
FIRE = 1  # of NOOP, FIRE, RIGHT, LEFT, Breakout's actions
SEEDS = [1, 2, 3]


@pytest.fixture(scope="module")
def shared():
    """Returns environments by their arguments, made once: each game takes 0.15 s. A reset with seeds forgets all."""
    made = {}

    def get(game, num_envs, settings, **others):
        key = (game, num_envs, settings, *others.items())
        if key not in made:
            made[key] = atari.AtariEnvironment(f"ALE/{game}-v5", num_envs, settings, **{"num_threads": 1, **others})
        return made[key]

    yield get
    for environment in made.values():
        environment.close()


@pytest.mark.parametrize("call", ["reset", "step"])
def test_what_ale_raises_is_told_with_its_traceback(shared, monkeypatch, call):
    environment = shared("Pong", 1, MACHADO)
    environment.reset(seeds(1))

    def crash(*args, **kwargs):
        raise RuntimeError("no\nROM")

    monkeypatch.setattr(environment._envs, call, crash)
    with pytest.raises(spec.EnvironmentFailure) as raised:
        environment.reset(seeds(1)) if call == "reset" else environment.step(np.zeros(1, np.int32))
    assert str(raised.value) == f"--env=ALE/Pong-v5: {call} raised RuntimeError: no ROM"
    assert "in crash" in raised.value.trace


def random_actions(num_steps, num_envs, num_actions=4):
    return np.random.default_rng(5).integers(num_actions, size=(num_steps, num_envs), dtype=np.int32)


ACTIONS = random_actions(NUM_STEPS, len(SEEDS))


def play(environment, numbers, actions):
    """Returns the first observation and all Steps."""
    first = environment.reset(seeds(*numbers))
    return first, [environment.step(action) for action in actions]


@pytest.fixture(scope="module")
def nature(shared):
    """Returns Breakout under nature: its first observation and Steps."""
    return play(shared("Breakout", 3, NATURE), SEEDS, ACTIONS)


@pytest.fixture(scope="module")
def machado(shared):
    return play(shared("Breakout", 3, MACHADO), SEEDS, ACTIONS)


@pytest.fixture(params=["nature", "machado"])
def played(request):
    """Returns each of the two in turn."""
    return request.getfixturevalue(request.param)


def column(steps, name):
    """Returns one field of all Steps, [T, N, ...]."""
    return np.stack([getattr(step, name) for step in steps])


def assert_same_play(a, b, of=slice(None)):
    """Asserts that play b is what play a shows of some of its environments, byte for byte."""
    np.testing.assert_array_equal(a[0][of], b[0], strict=True)
    for step_a, step_b in zip(a[1], b[1], strict=True):
        for field, x, y in zip(spec.Step._fields, step_a, step_b, strict=True):
            np.testing.assert_array_equal(x[of], y, err_msg=field, strict=True)


def is_same_play(a, b):
    return column(a[1], "observation").tobytes() == column(b[1], "observation").tobytes()


# What an environment is.


@pytest.mark.parametrize(
    "game, actions, num_actions", [("Pong", "auto", 6), ("Breakout", "minimal", 4), ("Pong", "full", 18)]
)
def test_describe_of_a_game_gives_its_spec(game, actions, num_actions):
    described = atari.describe(f"ALE/{game}-v5", schema.Atari(atari_actions=actions))
    assert described.env_id == f"ALE/{game}-v5"
    assert (described.observation_shape, described.observation_dtype) == ((4, 84, 84), np.dtype(np.uint8))
    space = described.observation_space
    assert (space.shape, space.dtype, space.low.max(), space.high.min()) == ((4, 84, 84), np.uint8, 0, 255)
    assert described.action_space == spaces.Discrete(num_actions)
    # Half an hour at 60 frames a second: 30 * 60 * 60 / 4 steps.
    assert (described.frames_per_step, described.max_episode_steps) == (4, 27_000)
    assert described.reward_threshold is None


def test_environment_has_the_spec_that_describe_gives(shared):
    environment = shared("Breakout", 3, NATURE)
    assert environment.spec == atari.describe("ALE/Breakout-v5", NATURE)
    assert (environment.num_envs, environment.frames_per_second) == (3, 60 // 4)


def test_step_gives_the_documented_shapes_and_dtypes(played):
    first, steps = played
    assert (first.shape, first.dtype) == ((3, 4, 84, 84), np.uint8)
    for step in steps:
        assert [x.shape for x in step] == [(3, 4, 84, 84), (3,), (3,), (3,), (3,), (3, 4, 84, 84), (3,)]
        assert [x.dtype for x in step] == [np.uint8, np.float32, bool, bool, bool, np.uint8, np.int32]


ALIKE = dict(
    num_threads=5,
    max_num_frames_per_episode=108_000,
    img_height=84,
    img_width=84,
    grayscale=True,
    stack_num=4,
    frameskip=4,
    episodic_life=False,
    life_loss_info=False,
    reward_clipping=False,
)


@pytest.mark.parametrize(
    "settings, arguments",
    [
        (NATURE, dict(repeat_action_probability=0.0, noop_max=31, use_fire_reset=True, full_action_space=False)),
        (MACHADO, dict(repeat_action_probability=0.25, noop_max=0, use_fire_reset=False, full_action_space=False)),
        (schema.Atari(), dict(repeat_action_probability=0.25, noop_max=0, use_fire_reset=False)),
        (schema.Atari(atari_actions="full"), dict(repeat_action_probability=0.25, full_action_space=True)),
    ],
)
def test_games_are_made_with_these_arguments_of_ale(monkeypatch, settings, arguments):
    from ale_py import vector_env

    given, make = [], vector_env.AtariVectorEnv

    def record(*names, **arguments):
        given.append((names, arguments))
        return make(*names, **arguments)

    monkeypatch.setattr(vector_env, "AtariVectorEnv", record)
    atari.AtariEnvironment("ALE/Breakout-v5", 2, settings, num_threads=5).close()
    names, found = given[-1]
    assert names == ("breakout", 2)
    assert found["autoreset_mode"].value == "SameStep"
    assert {name: found[name] for name in (ALIKE | arguments)} == ALIKE | arguments


# Protocols.


def test_actions_under_nature_are_carried_out_always(shared, monkeypatch):
    # Games that begin alike, without no-ops, and get the same actions are the same: chance is left no other part.
    monkeypatch.setattr(atari, "_NOOPS", 0)
    environment = atari.AtariEnvironment("ALE/Breakout-v5", 2, NATURE, 1)
    first, steps = play(environment, [1, 2], np.repeat(ACTIONS[:, :1], 2, axis=1))
    environment.close()
    for pair in (first, *column(steps, "observation"), *column(steps, "next_observation"), *column(steps, "reward")):
        np.testing.assert_array_equal(pair[0], pair[1])
    assert column(steps, "ended").any()


def test_actions_under_machado_are_repeated_as_the_seed_says(shared):
    environment = shared("Breakout", 3, MACHADO)
    first, steps = play(environment, [1, 2, 1], np.repeat(ACTIONS[:30, :1], 3, axis=1))
    np.testing.assert_array_equal(first[0], first[1])
    for step in steps:
        np.testing.assert_array_equal(step.observation[0], step.observation[2])
    assert any((step.observation[0] != step.observation[1]).any() for step in steps)


def frames_at_the_start(settings):
    """Returns how many frames each of six games has played before its first observation."""
    envs = atari._make("breakout", 6, settings, 1)
    _, infos = envs.reset(seed=np.arange(6, dtype=np.int32))
    envs.close()
    return infos["episode_frame_number"].tolist()


def test_game_under_nature_begins_after_up_to_30_frames_and_under_machado_at_once():
    assert frames_at_the_start(MACHADO) == [0] * 6
    begun = frames_at_the_start(NATURE)
    assert 1 <= min(begun) and max(begun) <= 30  # FIRE is at least one
    assert len(set(begun)) > 3


def test_lost_life_under_nature_terminates_and_the_last_one_ends_the_game(nature):
    terminated, ended, truncated = (column(nature[1], name) for name in ("terminated", "ended", "truncated"))
    assert not truncated.any() and not (ended & ~terminated).any()
    for i in range(3):
        (games,) = np.nonzero(ended[:, i])
        assert len(games) >= 1
        counts = [int(part.sum()) for part in np.split(terminated[:, i], games + 1)[:-1]]
        assert counts == [5] * len(games)  # the lives of a game


def test_lost_life_under_machado_says_nothing(machado):
    terminated, ended = column(machado[1], "terminated"), column(machado[1], "ended")
    np.testing.assert_array_equal(terminated, ended)
    assert ended.any()


def test_game_goes_on_after_a_lost_life(nature):
    first, steps = nature
    num_lost = 0
    for step in steps:
        going_on = ~step.ended
        np.testing.assert_array_equal(step.observation[going_on], step.next_observation[going_on])
        num_lost += np.count_nonzero(step.terminated & going_on)
    assert num_lost >= 3 * 4


def after_a_lost_life(steps):
    """Returns <bool>[T, N], the steps before which a life was lost while the game goes on."""
    is_lost = column(steps, "terminated") & ~column(steps, "ended")
    return np.concatenate([np.zeros((1, is_lost.shape[1]), bool), is_lost[:-1]])


def test_fire_under_nature_is_pressed_after_a_lost_life_and_at_no_other_time(nature):
    lost = after_a_lost_life(nature[1])
    np.testing.assert_array_equal(column(nature[1], "action"), np.where(lost, FIRE, ACTIONS))
    assert np.count_nonzero(lost & (ACTIONS != FIRE)) > 5


@pytest.mark.thorough
def test_fire_that_was_pressed_is_what_the_game_was_played_with(shared, nature):
    carried_out = column(nature[1], "action")
    again = play(shared("Breakout", 3, NATURE), SEEDS, carried_out)
    assert_same_play(nature, again)


def test_fire_is_pressed_where_all_18_actions_are_asked_for(shared):
    settings = schema.Atari(atari_protocol="nature", atari_actions="full")
    nothing = np.zeros((120, 1), np.int32)
    _, steps = play(shared("Breakout", 1, settings), [1], nothing)
    lost = after_a_lost_life(steps)
    assert lost.any()
    np.testing.assert_array_equal(column(steps, "action"), np.where(lost, FIRE, 0))


def test_fire_is_not_pressed_where_a_game_has_no_such_action(shared):
    # Ms. Pac-Man moves only. Its life is lost in these steps.
    actions = random_actions(250, 1, 9)
    _, steps = play(shared("MsPacman", 1, NATURE), [0], actions)
    assert after_a_lost_life(steps).any()
    np.testing.assert_array_equal(column(steps, "action"), actions)


def test_fire_under_machado_is_never_pressed(machado):
    np.testing.assert_array_equal(column(machado[1], "action"), ACTIONS)


@pytest.mark.parametrize("settings", [NATURE, *marks.thorough(MACHADO)], ids=["nature", "machado"])
def test_rewards_are_raw_scores(shared, settings):
    _, steps = play(shared("SpaceInvaders", 1, settings), [0], random_actions(200, 1, 6))
    rewards = set(column(steps, "reward").ravel().tolist())
    # Invaders of the six rows are worth 5 to 30.
    assert rewards <= {0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0} and len(rewards) > 2


def test_rewards_that_are_lost_points_are_negative(shared):
    _, steps = play(shared("Pong", 1, MACHADO), [0], np.zeros((100, 1), np.int32))
    assert set(column(steps, "reward").ravel().tolist()) == {0.0, -1.0}


# Observations.


def test_next_observation_is_the_true_next_one_at_every_step(played):
    observation, steps = played
    for step in steps:  # its first three planes are the last three before, at the end of a game too
        np.testing.assert_array_equal(step.next_observation[:, :3], observation[:, 1:])
        observation = step.observation


def test_observation_after_an_end_is_the_first_of_a_new_game(machado):
    first, steps = machado  # without no-ops all games begin alike
    ends = [(step, i) for step in steps for i in np.flatnonzero(step.ended)]
    assert len(ends) >= 3
    for step, i in ends:
        np.testing.assert_array_equal(step.observation[i], first[i])
        assert (step.next_observation[i] != first[i]).any()


def test_first_observation_has_one_plane_and_three_of_zeros(played):
    first, steps = played
    begun = [first, *(step.observation[step.ended] for step in steps)]
    for observation in np.concatenate(begun):
        assert observation[:3].max() == 0 < observation[3].max()


@pytest.mark.thorough
def test_arrays_of_a_step_are_left_alone_by_later_ones(shared):
    environment = shared("Breakout", 3, NATURE)
    arrays = [environment.reset(seeds(*SEEDS))]
    copies = [arrays[0].copy()]
    for action in ACTIONS[:150]:  # a game ends in these
        step = environment.step(action)
        arrays += step
        copies += [array.copy() for array in step]
    environment.reset(seeds(7, 8, 9))
    environment.step(ACTIONS[0])
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


# Seeds.


@pytest.mark.parametrize("name, settings", [("nature", NATURE), *marks.thorough(("machado", MACHADO))])
def test_reset_with_the_same_seeds_repeats_all_byte_for_byte(request, shared, name, settings):
    again = play(shared("Breakout", 3, settings), SEEDS, ACTIONS)
    assert_same_play(request.getfixturevalue(name), again)


@pytest.mark.parametrize("name, settings", [("nature", NATURE), *marks.thorough(("machado", MACHADO))])
def test_environment_depends_on_its_own_seed_only(request, shared, name, settings):
    alone = play(shared("Breakout", 1, settings), [2], ACTIONS[:, 1:2])
    assert_same_play(request.getfixturevalue(name), alone, of=slice(1, 2))


def test_threads_do_not_change_what_is_played(shared, nature):
    assert_same_play(nature, play(shared("Breakout", 3, NATURE, num_threads=2), SEEDS, ACTIONS))


@pytest.mark.parametrize("settings", [NATURE, *marks.thorough(MACHADO)], ids=["nature", "machado"])
def test_reset_with_the_largest_and_smallest_seed_gives_other_games(shared, settings):
    environment, actions = shared("Breakout", 1, settings), ACTIONS[:30, :1]
    one, other = (play(environment, [seed], actions) for seed in (0, 2**31 - 1))
    assert not is_same_play(one, other)


@pytest.mark.parametrize("settings", [NATURE, *marks.thorough(MACHADO)], ids=["nature", "machado"])
def test_games_after_the_first_depend_on_seeds_of_their_own(shared, settings):
    environment = shared("Breakout", 2, settings)
    environment.reset([lambda episode: 1, lambda episode: 1 + episode])
    steps = []
    while not steps or not steps[-1].ended.any():
        steps.append(environment.step(ACTIONS[len(steps), :1].repeat(2)))
    for step in steps:
        np.testing.assert_array_equal(step.next_observation[0], step.next_observation[1])
    assert steps[-1].ended.all()
    steps = [environment.step(action[:1].repeat(2)) for action in ACTIONS[:30]]
    assert not np.array_equal(*column(steps, "observation").swapaxes(0, 1))


# Games that are played again.


def stops(steps):
    """Returns numbers of steps after which one game has just begun, and after which one waits for FIRE."""
    ended, pressed = column(steps, "ended").any(axis=1), (column(steps, "action") != ACTIONS).any(axis=1)
    return np.flatnonzero(ended)[-1] + 1, np.flatnonzero(pressed)[-1] if pressed.any() else NUM_STEPS // 2


@pytest.mark.parametrize(
    "name, settings, which",
    [("nature", NATURE, 1), ("machado", MACHADO, 0), *marks.thorough(("nature", NATURE, 0), ("machado", MACHADO, 1))],
)
def test_replay_gives_what_was_played_and_goes_on_with_it(request, shared, name, settings, which):
    played = request.getfixturevalue(name)
    assert_plays_again(shared("Breakout", 3, settings), SEEDS, played, ACTIONS, stops(played[1])[which])


# The time limit, which takes too long to reach as it is.


@pytest.mark.parametrize("settings", [NATURE, MACHADO], ids=["nature", "machado"])
def test_game_at_the_limit_is_truncated_and_not_terminated(monkeypatch, settings):
    monkeypatch.setattr(atari, "_MAX_FRAMES", 40)
    environment = atari.AtariEnvironment("ALE/Breakout-v5", 2, settings, 1)
    assert environment.spec.max_episode_steps == 40 // 4
    observation, steps = play(environment, [1, 2], np.zeros((25, 2), np.int32))
    environment.close()
    at_limit = [[t in (10, 20)] * 2 for t in range(1, 26)]  # of the first and the second game
    np.testing.assert_array_equal(column(steps, "truncated"), at_limit)
    np.testing.assert_array_equal(column(steps, "ended"), at_limit)
    assert not column(steps, "terminated").any()
    for step in steps:
        np.testing.assert_array_equal(step.next_observation[:, :3], observation[:, 1:])
        assert (step.observation[:, :3].max(axis=(1, 2, 3)) == 0).tolist() == step.truncated.tolist()
        observation = step.observation


# Pictures.


def shrunk(picture):
    """Returns a picture <uint8>[210, 160, 3] in grey, 84 x 84: means of areas of 2.5 x 1.9 pixels."""
    grey = picture @ np.array([0.299, 0.587, 0.114])
    return np.repeat(np.repeat(grey, 2, axis=0), 21, axis=1).reshape(84, 5, 84, 40).mean(axis=(1, 3))


@pytest.mark.thorough
def test_render_shows_the_games_that_are_played(shared):
    environment = shared("Breakout", 2, NATURE, render=True)
    observation, num_different, num_lost = environment.reset(seeds(1, 2)), 0, 0
    for action in ACTIONS[:200, :2]:
        pictures = environment.render()
        assert [(picture.shape, picture.dtype) for picture in pictures] == [((210, 160, 3), np.uint8)] * 2
        for i, other in ((0, 1), (1, 0)):
            np.testing.assert_allclose(shrunk(pictures[i]), observation[i, -1], rtol=0, atol=10)
            num_different += np.abs(shrunk(pictures[i]) - observation[other, -1]).max() > 40
        step = environment.step(action)
        observation = step.observation
        num_lost += np.count_nonzero((step.terminated & ~step.ended) & (action != FIRE))
    assert num_different > 200  # half the pictures of the one are none of the other
    assert num_lost > 5  # and FIRE was pressed in both


def test_render_of_other_actions_would_show_another_game(shared):
    environment = shared("Breakout", 2, NATURE, render=True)
    environment.reset(seeds(1, 1))
    for action in ([1, 1], [2, 3], [2, 3]):
        environment.step(np.int32(action))
    first, second = map(shrunk, environment.render())
    assert np.abs(first - second).max() > 40  # the paddle

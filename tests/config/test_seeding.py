"""Random streams: each a function of the seed and of what it is for."""

import itertools

import pytest

from dqn_tf.config import seeding
from dqn_tf.config.seeding import Stream


def draws(*arguments):
    return tuple(seeding.generator(*arguments).integers(2**63, size=4))


def test_stream_numbers_are_frozen():
    # Part of a run's meaning: another number gives another run for the same seed.
    assert {stream.name: stream.value for stream in Stream} == {
        "ENVIRONMENT": 1,
        "EXPLORATION": 2,
        "REPLAY": 3,
        "EVALUATION": 4,
        "FINAL_EVALUATION": 5,
        "NETWORK": 6,
        "NOISE": 7,
    }


def test_generator_of_the_same_arguments_draws_the_same():
    assert draws(7, Stream.ENVIRONMENT, 3, 100) == draws(7, Stream.ENVIRONMENT, 3, 100)


def test_generator_of_any_other_seed_stream_or_key_draws_something_else():
    arguments = itertools.product((0, 1, 2**31 - 1), Stream, (0, 1, 2), (0, 1, 2, 10**6))
    drawn = [draws(*each) for each in arguments]
    assert len(set(drawn)) == len(drawn) == 3 * len(Stream) * 3 * 4


def test_generators_of_one_stream_do_not_share_state():
    first, second = (seeding.generator(0, Stream.REPLAY, worker) for worker in (0, 1))
    expected = seeding.generator(0, Stream.REPLAY, 1).random()
    first.random(1000)
    assert second.random() == expected


def test_integer_of_many_keys_lies_in_the_range_of_seeds_and_differs():
    numbers = [seeding.integer(0, Stream.ENVIRONMENT, key) for key in range(1000)]
    assert all(isinstance(number, int) and 0 <= number < 2**31 for number in numbers)
    assert len(set(numbers)) == 1000
    assert max(numbers) > 2**30 > min(numbers)


@pytest.mark.parametrize("stream", Stream)
def test_integer_is_the_first_draw_of_its_generator(stream):
    assert seeding.integer(5, stream, 6) == seeding.generator(5, stream, 6).integers(2**31)

"""Random streams of a run: each use has its own, a function of the seed and of what it is for."""

import enum

import numpy as np


class Stream(enum.IntEnum):
    """What random numbers are for. Numbers are part of a run's meaning: never change one."""

    ENVIRONMENT = 1
    EXPLORATION = 2
    REPLAY = 3
    EVALUATION = 4
    FINAL_EVALUATION = 5
    NETWORK = 6
    NOISE = 7


def generator(seed: int, stream: Stream, *keys: int) -> np.random.Generator:
    """Returns the generator of a stream; `keys` tell its uses apart (environment, worker, env steps so far)."""
    return np.random.default_rng(np.random.SeedSequence((seed, int(stream), *keys)))


def integer(seed: int, stream: Stream, *keys: int) -> int:
    """Returns a number in [0, 2**31) of a stream."""
    return int(generator(seed, stream, *keys).integers(2**31))

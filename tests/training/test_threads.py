"""Who gets how many threads, and why."""

import pytest

from dqn_tf.agent.architecture import ARCHITECTURES, NATURE_CNN
from dqn_tf.config import schema
from dqn_tf.training import threads

# network, cores, workers here, has peers: threads of the learner, side by side, of the actor
TABLE = """
mlp         1 1 no:   1 0 1
mlp         2 1 no:   1 0 1
mlp        64 1 no:   1 0 1
mlp         2 2 yes:  1 1 1
mlp        64 1 yes:  1 1 1
nature_cnn  1 1 no:   1 0 1
nature_cnn  2 1 no:   2 0 1
nature_cnn  4 1 no:   4 0 2
nature_cnn  9 1 no:   9 0 4
nature_cnn  2 2 yes:  1 0 1
nature_cnn  8 2 yes:  4 0 2
nature_cnn  8 3 yes:  2 0 1
nature_cnn  2 5 yes:  1 0 1
nature_cnn  8 1 yes:  8 0 4
"""


@pytest.mark.parametrize("row", TABLE.strip().splitlines())
def test_choose_by_network_cores_and_workers(row):
    given, expected = row.split(":")
    network, cores, workers, has_peers = given.split()
    chosen = threads.choose(schema.Hardware(), ARCHITECTURES[network], int(cores), int(workers), has_peers == "yes")
    assert [chosen.learner, chosen.operations, chosen.actor] == [int(number) for number in expected.split()]


@pytest.mark.parametrize("network", ["mlp", "nature_cnn"])
@pytest.mark.parametrize("cores, expected", [(1, 2), (3, 3)])
def test_choose_in_a_container_bounds_what_tensorflow_would_count_itself(network, cores, expected):
    chosen = threads.choose(schema.Hardware(), ARCHITECTURES[network], cores, 1, False, is_bounded=True)
    assert chosen.operations == expected


@pytest.mark.parametrize("network", ["mlp", "nature_cnn"])
def test_choose_where_flags_say_so_takes_those(network):
    asked = schema.Hardware(learner_threads=3, actor_threads=5)
    chosen = threads.choose(asked, ARCHITECTURES[network], 8, 1, False)
    assert (chosen.learner, chosen.actor) == (3, 5)
    assert chosen.reason == (
        "3 for an operation of the learner, 5 for stepping games, because --learner_threads=3 and --actor_threads=5"
    )


def test_choose_where_one_flag_is_given_chooses_the_other():
    chosen = threads.choose(schema.Hardware(actor_threads=3), NATURE_CNN, 8, 2, True)
    assert (chosen.learner, chosen.actor) == (4, 3)
    assert chosen.reason.endswith(", because --actor_threads=3")


@pytest.mark.parametrize(
    "network, counts, reason",
    [
        ("mlp", (1, 1), "small matrices lose by being shared out"),
        ("nature_cnn", (8, 4), "convolutions gain from every core, here 8"),
    ],
)
def test_choose_says_its_reason(network, counts, reason):
    learner, actor = counts
    assert threads.choose(schema.Hardware(), ARCHITECTURES[network], 8, 1, False).reason == (
        f"{learner} for an operation of the learner, {actor} for stepping games, because {reason}"
    )


@pytest.mark.parametrize(("cores", "workers", "expected"), [(16, 1, 16), (16, 4, 4), (1, 2, 1)])
def test_choose_where_a_gpu_learns_gives_the_games_all_cores(cores, workers, expected):
    chosen = threads.choose(schema.Hardware(), NATURE_CNN, cores, workers, workers > 1, has_gpu=True)
    assert chosen.actor == expected
    assert chosen.reason.endswith(f"a GPU learns, and leaves the cores to the games, here {expected}")
    small = threads.choose(schema.Hardware(), ARCHITECTURES["mlp"], cores, workers, workers > 1, has_gpu=True)
    assert small.actor == 1 and "GPU" not in small.reason

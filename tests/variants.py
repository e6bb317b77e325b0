"""Every addition to plain DQN, by itself and as its algorithms join them; made from the registries, so none is missed.

As a script one process of two workers:

    python -m tests.variants OUT INDEX ADDRESS ADDRESS

writes what came out of the updates of each variant to OUT, an .npz.
"""

import signal
import sys

import numpy as np

from dqn_tf.config import settings
from dqn_tf.config.algorithms import ALGORITHMS

NUM_UPDATES, BATCH_SIZE = 6, 16
# Small sizes; a variant's own settings win.
SMALL = {
    "hidden_units": (16, 8),
    "num_atoms": 11,
    "num_quantiles": 7,
    "num_tau_samples": 4,
    "num_policy_tau_samples": 5,
    "learning_rate": 0.003,
    "optimizer_epsilon": 1e-3,  # Adam's steps would magnify the rounding of gradients of about 0
    "learning_rate_schedule": "constant",
    "clip_norm": 1.0,
    "target_update_rate": 0.1,
    "seed": 3,
}


def choices(name):
    """Returns the variants that each choice of a setting is, without its default."""
    field = settings.SETTINGS[name].field
    return {choice: {name: choice} for choice in field.metadata["choices"] if choice not in (field.default, "auto")}


def _small(values):
    """Returns settings of an algorithm with the sizes of SMALL."""
    return {name: value for name, value in values.items() if name not in SMALL}


_HEADS = {algorithm.parts.get("head") for algorithm in ALGORITHMS.values()}
VARIANTS = {
    **{name: values for name, values in choices("head").items() if name not in _HEADS},
    **{name: {name: True} for name in ("dueling", "noisy", "normalize_observations", "munchausen")},
    "normalization": {"normalization": "layer"},
    "maxmin": {"num_critics": 2, "dueling": True, "noisy": True},
    **{name: _small(algorithm.parts) for name, algorithm in ALGORITHMS.items()},
    "all": {**_small(ALGORITHMS["btr"].parts), "normalization": "layer", "normalize_observations": True},
}
CONVOLUTIONAL = {
    **{name: {"network": name} for name in choices("network") if name.endswith("_cnn")},
    "impala_cnn": {"network": "impala_cnn", "pooling": 2, "spectral_norm": True, "normalization": "layer"},
}


def config_of(name, **values):
    """Returns the Config of a variant; `values` win."""
    return settings.build({**SMALL, **{**VARIANTS, **CONVOLUTIONAL}[name], **values})


def spec_of(name):
    """Returns the EnvironmentSpec that a variant is for: four numbers, or images."""
    from tests import making

    if name not in CONVOLUTIONAL:
        return making.spec((4,), np.float32, 3)
    return making.spec((36, 36, 2) if name == "nature_cnn" else (10, 10, 4), np.uint8, 3, 255)


def network_of(name, **values):
    """Returns the QNetwork of a variant; `values` win."""
    from dqn_tf.agent import architecture, q_network

    config, spec = config_of(name, **values), spec_of(name)
    return q_network.QNetwork(architecture.choose(config.network.network, spec), spec, config)


def learner_of(placement, name, jit_compile=False, **values):
    """Returns the Learner of a variant; `values` are settings that win over its own."""
    from dqn_tf.agent import learner
    from dqn_tf.config import seeding
    from dqn_tf.distribution import reducer

    make = network_of(name, **values)
    return learner.Learner(
        *(reducer.GradientSum(placement), make.build, make.loss(), make.config.learning, BATCH_SIZE, NUM_UPDATES),
        jit_compile,
        lambda number: seeding.integer(3, seeding.Stream.NETWORK, number),
    )


def train(placement, name, jit_compile=False, **values):
    """Makes updates with importance weights; returns the weights, slots, metrics and priorities by name."""
    made = learner_of(placement, name, jit_compile, **values)
    metrics, priority = made.update(sample(name, placement))
    return {"metrics": metrics, "priority": priority, "num_traces": np.int64(made.num_traces), **state_of(made)}


def state_of(made):
    """Returns the arrays of a learner's state by name."""
    found = {}
    for what, arrays in (
        ("network", made.weights()),
        ("target", made.target.get_weights()),
        ("optimizer", [one.numpy() for one in made.optimizer.variables]),
    ):
        found.update({f"{what}/{i}": array for i, array in enumerate(arrays)})
    return found


def observations(name, *leading, seed=0):
    """Returns random observations of a variant, [*leading, *obs]."""
    spec, generator = spec_of(name), np.random.default_rng(seed)
    shape = (*leading, *spec.observation_shape)
    if spec.observation_dtype == np.uint8:
        return generator.integers(256, size=shape, dtype=np.uint8)
    return generator.normal(size=shape).astype(np.float32)


def sample(name, placement):
    """Returns a Sample of NUM_UPDATES batches, the part of the worker of `placement`."""
    from dqn_tf.experience.accumulator import Transitions
    from dqn_tf.experience.replay import Sample

    generator, shape = np.random.default_rng(1), (NUM_UPDATES, BATCH_SIZE)
    columns = [
        observations(name, *shape, seed=2),
        generator.integers(3, size=shape, dtype=np.int32),
        generator.normal(size=shape).astype(np.float32),
        generator.choice(np.float32([0, 0.9]), size=shape),
        observations(name, *shape, seed=4),
        generator.random(shape, np.float32),
        generator.integers(100, size=shape),
    ]
    mine = [np.split(column, placement.num_workers, axis=1)[placement.worker_index] for column in columns]
    return Sample(Transitions(*mine[:5]), *mine[5:])


def _main(path, index, *addresses):
    from dqn_tf.cluster import topology
    from dqn_tf.distribution import strategy

    signal.alarm(450)  # ends this process, should the test not be there to do it
    cluster = topology.Topology(tuple(addresses), int(index), False, "the test")
    placement = strategy.create("multiworker", 0, cluster)
    found = {}
    for name in [*VARIANTS, *CONVOLUTIONAL]:
        found.update({f"{name}|{key}": array for key, array in train(placement, name).items()})
    np.savez(path, **found)


if __name__ == "__main__":
    _main(*sys.argv[1:])

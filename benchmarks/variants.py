"""Measures what each addition to DQN costs: an update, and env steps per second of acting, beside plain DQN's.

    python benchmarks/variants.py [--repeats=5] [--only=c51,rainbow] [--json=FILE]

CartPole: 128-128, batch 64, compiled as a run has it. Pong: convolutions of 84 x 84 x 4, batch 32. Variants take turns,
A B C A B C; medians with ranges. Nothing else should run meanwhile.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ACTING_STEPS = 100
TASKS = {
    "CartPole": dict(shape=(4,), dtype="float32", num_actions=2, batch_size=64, updates=40, calls=5, num_envs=16),
    "Pong": dict(shape=(84, 84, 4), dtype="uint8", num_actions=6, batch_size=32, updates=2, calls=3, num_envs=8),
}
ONE_BY_ONE = {
    "plain DQN": {},
    "categorical": {"head": "categorical"},
    "quantile": {"head": "quantile"},
    "implicit_quantile": {"head": "implicit_quantile"},
    "dueling": {"dueling": True},
    "noisy": {"noisy": True},
    "munchausen": {"munchausen": True},
    "num_critics=2": {"num_critics": 2},
    "normalization=layer": {"normalization": "layer"},
    "normalize_observations": {"normalize_observations": True},
}
IMAGES = {"impala_cnn": {"network": "impala_cnn"}}


def variants() -> dict[str, dict]:
    """Returns the settings of each variant."""
    from dqn_tf.config.algorithms import ALGORITHMS

    joined = {name: dict(one.parts) for name, one in ALGORITHMS.items() if name != "double_dqn"}
    return {**ONE_BY_ONE, **joined, **IMAGES}


class Measured:
    """A variant's learner and policy, made once."""

    def __init__(self, placement, task: str, name: str):
        import learners
        import numpy as np

        from dqn_tf.agent.architecture import ARCHITECTURES
        from dqn_tf.config import settings
        from dqn_tf.config.algorithms import ALGORITHMS
        from dqn_tf.experience.replay import Sample
        from dqn_tf.training import builder

        self._task = about = TASKS[task]
        values = {**({"network": "nature_cnn"} if task == "Pong" else {}), **variants()[name]}
        if name == "btr" and task == "Pong":
            values |= {key: ALGORITHMS["btr"].games[key] for key in ("network", "width", "spectral_norm", "pooling")}
        config = settings.build(values)
        observations = about["shape"], about["dtype"], about["num_actions"]
        kind = "mlp" if task == "CartPole" else values["network"]
        jit_compile = builder.uses_xla(config, ARCHITECTURES[kind], placement)
        made = learners.make(placement, kind, observations, config, about["batch_size"], jit_compile)
        self.learner, _, self.policy = *made, learners.policy(kind, observations, config)
        self.noise = (7,) if config.network.noisy else ()
        generator, leading = np.random.default_rng(0), (about["updates"], about["batch_size"])
        self.sample = Sample(learners.random_transitions(generator, leading, observations))
        self.observation = self.sample.transitions.s_tm1.reshape(-1, *about["shape"])[: about["num_envs"]]
        self.policy.load(self.learner.weights())
        self.update_ms(1)
        self.act_us(3)

    def update_ms(self, calls: int) -> float:
        """Returns the milliseconds of an update."""
        begin = time.perf_counter()
        for _ in range(calls):
            self.learner.update(self.sample)
        return 1e3 * (time.perf_counter() - begin) / calls / self._task["updates"]

    def act_us(self, steps: int) -> float:
        """Returns the microseconds of the values of all environments."""
        begin = time.perf_counter()
        for _ in range(steps):
            self.policy.values(self.observation, *self.noise)
        return 1e6 * (time.perf_counter() - begin) / steps


def names_of(task: str, only: list[str]) -> list[str]:
    """Returns the variants of a task."""
    left_out = IMAGES if task == "CartPole" else {"normalize_observations": None}
    return [name for name in variants() if name not in left_out and (not only or name in only or name == "plain DQN")]


def main() -> None:
    """Measures in turns, and prints a table for each task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--only", default="", help="variants, separated by commas")
    parser.add_argument("--json", type=pathlib.Path, help="write all figures to this file")
    arguments = parser.parse_args()
    from dqn_tf.distribution import strategy

    placement = strategy.create("default", 0, None)
    figures: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for task in arguments.tasks.split(","):
        about, names = TASKS[task], names_of(task, [name for name in arguments.only.split(",") if name])
        measured = {}
        for name in names:
            print(f"{task}: {name}", file=sys.stderr)
            measured[name] = Measured(placement, task, name)
        rows = figures[task] = {name: [] for name in names}
        for _ in range(arguments.repeats):
            for name, one in measured.items():
                rows[name].append((one.update_ms(about["calls"]), one.act_us(ACTING_STEPS)))
        plain = statistics.median(update for update, _ in rows["plain DQN"])
        print(f"\n{task}, batch {about['batch_size']}, {about['num_envs']} environments\n")
        print("| variant | update, ms | of plain DQN | acting, us a step of all environments |\n|---|---|---|---|")
        for name, pairs in rows.items():
            (update, acting), columns = map(statistics.median, zip(*pairs, strict=True)), list(zip(*pairs, strict=True))
            ranges = [f"{min(column):,.2f} to {max(column):,.2f}" for column in columns]
            print(f"| {name} | {update:,.2f} ({ranges[0]}) | {update / plain:.2f} | {acting:,.0f} ({ranges[1]}) |")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()

"""Measures the bytes in use of our replay, filled with Pong as the training loop fills it: random actions, 1 step."""

import json
import pathlib
import sys

import numpy as np
import ours
import works

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

NUM_STEPS = 25  # of all environments, between two calls of the accumulator


def main() -> None:
    """Fills a replay of the capacity given, and past its end, and reports its bytes."""
    from dqn_tf.config import settings
    from dqn_tf.environment.factory import Factory
    from dqn_tf.experience import accumulator, frame_replay

    work, generator = works.given(), np.random.default_rng(0)
    num_envs = ours.NUM_ENVS["pong"]
    environment = Factory.of(settings.build({"env": work.env})).make(num_envs)
    spec = environment.spec
    replay = frame_replay.create(work.replay_capacity, spec.observation_shape, spec.observation_dtype, generator)
    chains = accumulator.Accumulator(1, work.discount)
    observation, most = environment.reset(range(num_envs)), 0
    for _ in range(0, int(1.1 * work.replay_capacity), NUM_STEPS * num_envs):
        rows = []
        for _ in range(NUM_STEPS):
            action = generator.integers(spec.num_actions, size=num_envs, dtype=np.int32)
            step = environment.step(action)
            rows.append((observation, step.action, step.reward, step.terminated, step.truncated, step.next_observation))
            observation = step.observation
        replay.add(chains.add(accumulator.Steps(*map(np.stack, zip(*rows, strict=True)))))
        most = max(most, replay.nbytes)
    environment.close()
    print(json.dumps({"bytes": most, "transitions": len(replay)}), flush=True)


if __name__ == "__main__":
    main()

"""train.py of this repository at a Work's setting: its flags, and its figures from the files of the run."""

import json
import pathlib

import works

ROUND_ENV_STEPS = {"cartpole": 160, "rlzoo": 256, "pong": 160}
NUM_ENVS = {"cartpole": 16, "rlzoo": 16, "pong": 16}


def flags(work: works.Work) -> list[str]:
    """Returns the flags that ask of train.py what `work` asks of the others. Evaluation is off but for one episode."""
    round_env_steps = ROUND_ENV_STEPS[work.task]
    # Counted in updates. Where learning comes in phases the target changes at most once in each, as for the others.
    phase = work.gradient_steps if work.round_env_steps > 1 else 1
    target_update_period = max(phase, round(work.target_update_env_steps * work.updates_per_env_step))
    special = [f"--hidden_units={','.join(map(str, work.hidden_units))}"]
    if not work.hidden_units:
        special = ["--network=nature_cnn", "--reward_clip=1", "--eval_max_episode_steps=100"]
    return [
        f"--env={work.env}",
        "--preset=none",
        *special,
        f"--batch_size={work.batch_size}",
        f"--replay_ratio={work.updates_per_env_step}",
        f"--num_envs={work.num_envs if work.num_envs > 1 else NUM_ENVS[work.task]}",
        f"--round_env_steps={round_env_steps}",
        "--n_step=1",
        "--double_q=false",
        f"--target_update_period={target_update_period}",
        f"--learning_rate={work.learning_rate}",
        "--learning_rate_schedule=constant",
        "--clip_norm=10",  # as stable-baselines3 does by itself
        f"--discount={work.discount}",
        f"--replay_capacity={work.replay_capacity}",
        f"--learning_starts={work.learning_starts}",
        f"--epsilon_initial={work.epsilon_initial}",
        f"--epsilon_final={work.epsilon_final}",
        f"--epsilon_decay_env_steps={work.epsilon_env_steps}",
        f"--train_env_steps={work.env_steps}",
        # The rate counts from the first row of metrics after the first update.
        f"--log_period={max(work.skipped_env_steps, 1_000)}",
        "--eval_period=0",
        "--final_eval_episodes=1",
        "--checkpoint_period=0",
    ]


def figures(logdir: pathlib.Path) -> dict[str, float]:
    """Returns env steps per second with learning on, seconds of training, tracing and compiling included, and the
    shares of the time that learner and actor waited.
    """
    summary = json.loads((logdir / "summary.json").read_text())
    seconds, before = 0.0, 0
    for line in (logdir / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        if "time/env_steps_per_second" in row:
            seconds += (row["env_steps"] - before) / row["time/env_steps_per_second"]
            before = row["env_steps"]
    waits = {side: summary[f"{side}_wait_share"] for side in ("learner", "actor")}
    return {
        "env steps/s": summary["env_steps_per_second"],
        "training s": seconds,
        "updates": summary["updates"],
        **{side: share for side, share in waits.items() if share is not None},
    }

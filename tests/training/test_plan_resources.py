"""What a plan makes of the machine: threads, memory for the replay, precision; and of Atari's settings."""

import json
import re

import pytest

from dqn_tf.config import schema, settings
from dqn_tf.environment import factory
from dqn_tf.environment.maker import Maker
from dqn_tf.experience import frame_replay
from dqn_tf.process import hardware
from dqn_tf.training import plan

NO_GPU = {"CUDA_VISIBLE_DEVICES": "-1"}
VALUES = dict(
    num_envs=8, round_env_steps=40, replay_ratio=0.5, batch_size=16, replay_capacity=1000, n_step=1, learning_starts=100
)
PIXEL = "tests.environments:Pixel-v0"


def cluster_of(*hosts, index=0):
    """Returns the environment of the worker `index` of one worker on each of these hosts."""
    workers = [f"{host}:{2222 + i}" for i, host in enumerate(hosts)]
    text = json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})
    return {"TF_CONFIG": text, **NO_GPU}


@pytest.fixture
def make(tmp_path):
    """Returns a function that makes the Plan of these settings; its directory is tmp_path/run."""

    def make(environ=NO_GPU, **values):
        values = {**VALUES, "logdir": str(tmp_path / "run"), **values}
        return plan.make(settings.build(values), [], environ, 0.0)

    return make


def refused(make, *arguments, **values):
    with pytest.raises(schema.ConfigError) as error:
        make(*arguments, **values)
    return list(error.value.problems)


@pytest.fixture
def memory(monkeypatch):
    """Returns a function that says how many bytes the machine has available; any replay can be made."""

    def say(nbytes):
        monkeypatch.setattr(frame_replay, "create", lambda *_: None)
        monkeypatch.setattr(hardware, "available_memory", lambda: nbytes)

    return say


# Workers and threads.


def test_local_workers_of_a_run_without_a_cluster_are_all(make):
    assert make().num_local_workers == 1
    assert make(strategy="mirrored").num_local_workers == 1
    assert make(strategy="multiworker", num_workers=4).num_local_workers == 4


@pytest.mark.parametrize("index, expected", [(0, 2), (1, 1), (2, 2), (3, 1)])
def test_local_workers_of_a_cluster_are_those_on_this_host(make, index, expected):
    environ = cluster_of("10.0.0.1", "10.0.0.2", "10.0.0.1", "[::1]", index=index)
    assert make(environ, strategy="multiworker").num_local_workers == expected


@pytest.mark.parametrize(
    "values, environ, expected",
    [
        (dict(), NO_GPU, (1, 0, 1)),
        (dict(env=PIXEL), NO_GPU, (8, 0, 4)),
        (dict(strategy="multiworker", num_workers=4), NO_GPU, (1, 1, 1)),
        (dict(env=PIXEL, strategy="multiworker", num_workers=4), NO_GPU, (2, 0, 1)),
        (dict(env=PIXEL, strategy="multiworker"), cluster_of("10.0.0.1", "10.0.0.2"), (8, 0, 4)),
        (dict(env=PIXEL, strategy="mirrored", learner_threads=3), NO_GPU, (3, 0, 4)),
    ],
)
def test_threads_share_the_cores_with_local_workers(make, monkeypatch, values, environ, expected):
    monkeypatch.setattr(hardware, "num_cores", lambda: 8)
    monkeypatch.setattr(hardware, "is_bounded", lambda: False)
    chosen = make(environ, **values).threads
    assert (chosen.learner, chosen.operations, chosen.actor) == expected


# Environments.


def test_environments_are_made_as_the_settings_say(make):
    kwargs = schema.JsonObject('{"sutton_barto_reward": true}')
    made = make(vectorization="async", env_kwargs=kwargs)
    assert made.environments == factory.Factory(Maker("CartPole-v1", kwargs), "async", spec=made.spec)


def test_environments_of_a_game_are_played_as_the_settings_say(make):
    pytest.importorskip("ale_py")
    made = make(env="ALE/Pong-v5", atari_protocol="nature", atari_actions="full")
    assert made.environments.atari == schema.Atari("nature", "full")
    assert (made.spec.num_actions, made.spec.frames_per_step, made.architecture.name) == (18, 4, "nature_cnn")


def test_settings_of_atari_for_another_environment_are_refused_beside_other_mistakes(make):
    assert refused(make, atari_protocol="nature", strategy="mirrored", batch_size=33) == [
        "--atari_protocol=nature is for Atari games, and --env=CartPole-v1 is none; leave it out.",
        "--batch_size=33 must be divisible by the 2 replicas in sync (1 workers x 2 replicas); try 32 or 34.",
    ]


# Memory. A transition of CartPole takes 4 floats twice, and an action, a reward and a discount: 44 bytes. Of what is
# available a gigabyte is left to each process here, or where there is little three quarters to all.

BILLION = 10**9


def test_replay_that_memory_cannot_hold_is_refused_with_a_capacity_that_fits(make, memory):
    memory(12 * 10**9)
    assert refused(make, replay_capacity=BILLION, train_env_steps=BILLION) == [
        # 0.98 * 11 / 44 of it, in two digits.
        "--replay_capacity=1000000000 needs 44.0 GB of memory for 1000000000 transitions of CartPole-v1, "
        "and 11.0 GB are free for it; --replay_capacity=240000000 fits."
    ]


@pytest.mark.parametrize("available, is_enough", [(4 * 1000 * 44, True), (4 * 1000 * 44 - 1, False), (None, True)])
def test_replay_is_refused_from_the_first_byte_on_that_is_missing(make, memory, available, is_enough):
    memory(available)
    if is_enough:
        assert make().config.training.replay_capacity == 1000
    else:
        (line,) = refused(make)
        assert line.startswith("--replay_capacity=1000 needs ") and line.endswith("--replay_capacity=970 fits.")


@pytest.mark.parametrize("available, is_enough", [(44 * 10**9 + 10**9, True), (44 * 10**9 + 10**9 - 1, False)])
def test_replay_that_is_large_leaves_a_gigabyte(make, memory, available, is_enough):
    memory(available)
    values = dict(replay_capacity=BILLION, train_env_steps=BILLION)
    if is_enough:
        make(**values)
    else:
        (line,) = refused(make, **values)
        assert line.endswith("and 44.0 GB are free for it; --replay_capacity=970000000 fits.")


@pytest.mark.parametrize("available, is_enough", [(4 * 1040 * 44, True), (4 * 1040 * 44 - 1, False)])
def test_replay_of_a_short_run_needs_memory_for_its_env_steps_only(make, memory, available, is_enough):
    memory(available)
    values = dict(replay_capacity=BILLION, train_env_steps=1001)  # 26 rounds of 40
    if is_enough:
        make(**values)
    else:
        (line,) = refused(make, **values)
        assert " for 1040 transitions of CartPole-v1, " in line and line.endswith("--replay_capacity=1000 fits.")


@pytest.mark.parametrize(
    "environ, needed, free, fits",
    [
        (NO_GPU, "44.0", "11.0", 240_000_000),  # both workers here
        (cluster_of("10.0.0.1", "10.0.0.1"), "44.0", "11.0", 240_000_000),
        (cluster_of("10.0.0.1", "10.0.0.2"), "22.0", "12.0", 530_000_000),  # one: 0.98 * 12 / 22
        (cluster_of("10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.2", index=3), "33.0", "10.0", 290_000_000),  # 3 of 4
    ],
)
def test_replay_of_several_workers_needs_memory_for_those_on_this_host(make, memory, environ, needed, free, fits):
    memory(13 * 10**9)
    (line,) = refused(make, environ, strategy="multiworker", replay_capacity=BILLION, train_env_steps=BILLION)
    assert f" needs {needed} GB " in line
    assert line.endswith(f" {free} GB are free for it; --replay_capacity={fits} fits.")


def test_replay_of_images_needs_memory_for_each_frame_once(make, memory):
    # 36 x 36 bytes and two numbers for each frame, one of a hundred for ends of episodes; a row names two frames.
    needed = 1010 * (36 * 36 + 4 + 4) + 1000 * (4 + 4 + 4 + 4 + 4)
    memory(4 * needed)
    make(env=PIXEL)
    memory(4 * needed - 1)
    (line,) = refused(make, env=PIXEL)
    assert line.startswith("--replay_capacity=1000 needs 0.0 GB of memory for 1000 transitions of tests.environments:")


@pytest.mark.parametrize("available, is_enough", [(4 * 1000 * (44 + 16), True), (4 * 1000 * (44 + 16) - 1, False)])
def test_prioritized_replay_needs_memory_for_its_sums_too(make, memory, available, is_enough):
    memory(available)
    if is_enough:
        make(replay="prioritized")
    else:
        (line,) = refused(make, replay="prioritized")
        assert line.startswith("--replay_capacity=1000 needs ")


@pytest.mark.parametrize(
    "env, num_workers, share",
    [("CartPole-v1", 1, 0.1), ("CartPole-v1", 3, 0.999), ("CartPole-v1", 8, 0.37), (PIXEL, 1, 0.999), (PIXEL, 7, 0.37)],
)
def test_capacity_that_is_said_to_fit_is_accepted(make, memory, env, num_workers, share):
    size = 40 * num_workers
    values = dict(env=env, num_envs=size, round_env_steps=size, batch_size=size, learning_starts=size)
    values.update(replay_capacity=size * 1_234, train_env_steps=size * 2_000)
    if num_workers > 1:
        values.update(strategy="multiworker", num_workers=num_workers)
    memory(int(4 * share * size * 1_234 * (44 if env == "CartPole-v1" else 20 + 1.01 * 1304)))
    (line,) = refused(make, **values)
    fits = int(re.search(r"--replay_capacity=(\d+) fits\.$", line)[1])
    assert fits > 0.8 * share * size * 1_234  # and not less than need be
    made = make(**{**values, "replay_capacity": fits})
    assert made.config.training.replay_capacity == fits


@pytest.mark.parametrize(
    "env, capacity, strategy", [("CartPole-v1", 10**15, "default"), (PIXEL, 9 * 10**15, "multiworker")]
)
def test_replay_that_no_machine_holds_is_refused_however_short_the_run(make, env, capacity, strategy):
    (line,) = refused(make, env=env, replay_capacity=capacity, strategy=strategy, train_env_steps=1200)
    assert line.startswith(f"--replay_capacity={capacity} does not fit into memory: ")
    assert line.endswith("; use less, this run adds 1200 transitions.")


def test_network_and_batches_that_memory_cannot_hold_are_refused(make, memory):
    memory(4 * 10**9)
    values = dict(hidden_units=(100_000, 100_000), batch_size=16_000_000)
    assert refused(make, **values) == [
        # 4 inputs, 2 actions: (4 + 1) * 1e5 + (1e5 + 1) * 1e5 + (1e5 + 1) * 2 weights, of 24 bytes.
        "--hidden_units=100000,100000 makes 10000800002 weights, which need at least 240.0 GB of memory, and 4.0 GB "
        "are free; use less.",
        "--batch_size=16000000 makes 320000000 transitions to learn from in a round, which need at least 14.1 GB of "
        "memory, and 4.0 GB are free; use less.",
    ]
    make(hidden_units=(2000, 2000), batch_size=160_000)


# Open files.


@pytest.mark.parametrize(
    "values, needed, what",
    [
        (dict(), 16, "training"),
        (dict(strategy="multiworker", num_workers=4), 16 + 3 * 4, "--num_workers=4"),
        (
            dict(vectorization="async", eval_episodes=3),  # 8 of the actor's, 3 of evaluations, 25 of the last one
            16 + 2 * (8 + 3 + 25),
            "--vectorization=async with 36 environments, evaluation's among them,",
        ),
    ],
)
def test_processes_for_which_too_few_files_may_be_open_are_refused(make, monkeypatch, values, needed, what):
    monkeypatch.setattr(hardware, "max_open_files", lambda: needed)
    make(**values)
    monkeypatch.setattr(hardware, "max_open_files", lambda: needed - 1)
    assert refused(make, **values) == [
        f"{what} needs about {needed} open files, and {needed - 1} are allowed (ulimit -n); raise that or use less."
    ]


# Precision.


@pytest.mark.parametrize(
    "values, environ, has_bfloat16",
    [
        (dict(precision="bfloat16"), NO_GPU, True),
        (dict(precision="bfloat16"), {"CUDA_VISIBLE_DEVICES": "0"}, False),
        (dict(precision="float32"), NO_GPU, False),
        (dict(precision="tf32"), {"CUDA_VISIBLE_DEVICES": "0"}, False),
    ],
)
def test_precision_is_accepted_where_the_machine_computes_so(make, monkeypatch, values, environ, has_bfloat16):
    monkeypatch.setattr(hardware, "has_bfloat16", lambda: has_bfloat16)
    assert make(environ, **values).config.hardware.precision == values["precision"]


def test_precision_that_the_processor_lacks_is_refused(make, monkeypatch):
    monkeypatch.setattr(hardware, "has_bfloat16", lambda: False)
    assert refused(make, precision="tf32") == [
        "--precision=tf32: this machine has no GPU, and its processor has no TF32; leave it out."
    ]
    assert refused(make, precision="bfloat16") == [
        "--precision=bfloat16: this machine's processor has no bfloat16 arithmetic (avx512_bf16, amx_bf16 or bf16), "
        "which would make training slower; use --precision=float32."
    ]


def test_deterministic_is_told_to_xla_beside_what_the_user_tells_it(make):
    made = make(deterministic=True)
    told = "--xla_gpu_deterministic_ops=true"
    assert made.variables({}) == {"XLA_FLAGS": told, "TF_CUDNN_DETERMINISTIC": "1"}
    assert made.variables({"XLA_FLAGS": "--a=b"})["XLA_FLAGS"] == f"--a=b {told}"
    assert made.variables({"XLA_FLAGS": told, "TF_CUDNN_DETERMINISTIC": "1"}) == {}

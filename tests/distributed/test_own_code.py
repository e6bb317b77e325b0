"""Networks and losses of a user's own: the same under every strategy, resumed to the bit; and their errors."""

import gymnasium
import numpy as np
import pytest
import tensorflow as tf

import dqn_tf
from dqn_tf.agent import heads, own_network
from dqn_tf.config import settings
from dqn_tf.experience.replay import Sample
from tests import making, marks, runs
from tests.distributed import own_code, own_worker, parity_worker, test_parity
from tests.placements import one_replica, replicas, two_replicas

# Sums in another order differ by a few times 6e-8 of their largest terms, and 20 updates carry that on.
TOLERANCE = 2e-6
# Its layer divides by the variance of the replica's part of a batch, so 1 and 2 replicas differ but for the mean.
OF_A_PART = {"batch_norm": "network/2"}


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """Returns what two worker processes came to in each case, by name."""
    directory, addresses = tmp_path_factory.mktemp("own"), runs.addresses(2)
    commands = {f"worker{index}": [str(index), *addresses] for index in range(2)}
    with test_parity.started(directory, commands, own_worker.__name__) as processes:
        test_parity.wait_for(processes, directory)
    return [dict(np.load(directory / f"{name}.npz")) for name in commands]


QUICK = ("dropout", "running_mean", "dueling")
OTHERS = [case for case in own_worker.CASES if case not in QUICK]


@pytest.fixture(scope="module", params=[*QUICK, *marks.thorough(*OTHERS)])
def case(request):
    return request.param


@pytest.fixture(scope="module")
def one(case):
    return own_worker.train(one_replica(), case)


def assert_same(actual, expected):
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        assert actual[name].shape == array.shape, name
        scale = max(np.abs(array).max(), 1e-3)
        np.testing.assert_allclose(actual[name], array, rtol=0, atol=TOLERANCE * scale, err_msg=name)


def assert_same_as(one, several, case):
    if case in OF_A_PART:
        assert_same({"mean": several[OF_A_PART[case]]}, {"mean": one[OF_A_PART[case]]})
        assert all(np.isfinite(array).all() for array in several.values())
    else:
        assert_same(several, one)


def test_update_when_there_are_two_replicas_is_the_same(case, one):
    assert_same_as(one, own_worker.train(two_replicas(), case), case)


@pytest.mark.thorough
def test_update_when_there_are_two_processes_is_the_same(case, one, workers):
    found = [{name.partition("/")[2]: a for name, a in w.items() if name.startswith(f"{case}/")} for w in workers]
    priorities = np.concatenate([part.pop("priorities") for part in found], axis=1)
    for name, array in found[0].items():
        np.testing.assert_array_equal(found[1][name], array, err_msg=name)
    assert_same_as(one, {**found[0], "priorities": priorities}, case)


@pytest.mark.thorough
def test_update_when_compiled_is_the_same(case, one):
    compiled = own_worker.train(one_replica(), case, jit_compile=True)
    for name, array in one.items():
        scale = max(np.abs(array).max(), 1e-3)
        if "dropout" in case:  # XLA draws other random numbers
            assert np.isfinite(compiled[name]).all()
        else:  # Keras's Adam and TensorFlow's kernel differ in the second moments
            np.testing.assert_allclose(compiled[name], array, rtol=0, atol=1e-3 * scale, err_msg=name)


@pytest.mark.thorough
def test_update_when_split_over_calls_makes_the_same_masks():
    assert_same(own_worker.train(one_replica(), "dropout", 4), own_worker.train(one_replica(), "dropout", 2))


def test_update_makes_other_masks_in_each_update():
    made = own_worker.make(one_replica(), "dropout", optimizer="sgd", learning_rate=0.0)
    batch = parity_worker._split(parity_worker._batches(), parity_worker.NUM_UPDATES)[0]
    losses = [made.update(Sample(batch))[0][0] for _ in range(3)]  # the weights stay as they are
    assert len(set(losses)) == 3


def test_state_that_is_averaged_is_the_mean_over_the_batch():
    one = own_worker.train(one_replica(), "running_mean")
    batches = parity_worker._batches()
    mean = np.zeros(4)
    for k in range(parity_worker.NUM_UPDATES):
        mean += 0.5 * (batches.s_tm1[k].mean(axis=0) - mean)
    np.testing.assert_allclose(one["network/0"], mean, rtol=1e-5)
    assert one["network/1"] == parity_worker.NUM_UPDATES
    np.testing.assert_array_equal(one["target/0"], one["network/0"])  # copied whole, not by the rate


def test_what_a_network_punishes_and_constrains_is_in_its_updates():
    made = own_worker.make(one_replica(), "punished")
    batch = parity_worker._split(parity_worker._batches(), parity_worker.NUM_UPDATES)[0]
    nothing = np.zeros(batch.r_t.shape, np.float32)
    (loss, _, _, gradient_norm), _ = made.update(Sample(batch, nothing, np.zeros(nothing.shape, np.int64)))
    assert loss == 0
    assert gradient_norm > 0.01  # of the punishment alone
    assert np.linalg.norm(made.weights()[0], axis=0).max() < 0.4 + 1e-6


def test_frozen_layers_stay_as_they_are_and_are_not_sent():
    made = own_worker.make(two_replicas(), "frozen")
    sums, learned = 2 * 2 * 3, 16 * 3 + 3
    assert made._reducer.num_sent == learned + sums
    first = made.weights()[0]
    batch = parity_worker._split(parity_worker._batches(), parity_worker.NUM_UPDATES)[0]
    made.update(Sample(batch))
    np.testing.assert_array_equal(made.weights()[0], first)
    np.testing.assert_array_equal(made.target.get_weights()[0], first)


def test_importance_weights_multiply_the_loss_of_their_transition():
    batch = parity_worker._split(parity_worker._batches(), parity_worker.NUM_UPDATES)[0]
    weight = np.zeros(batch.r_t.shape, np.float32)
    weight[:, :4] = 2.0
    made = own_worker.make(one_replica(), "log_cosh")
    (loss, *_), priority = made.update(Sample(batch, weight, np.zeros(weight.shape, np.int64)))
    expected = 2 * np.log(np.cosh(priority[0, :4])).sum() / parity_worker.BATCH_SIZE
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


SMALL = [
    *("--preset=none", "--train_env_steps=800", "--learning_starts=400", "--num_envs=8", "--eval_period=0"),
    *("--final_eval_episodes=3", "--checkpoint_period=400", "--hidden_units=16", "--jit_compile=false"),
    "--learning_rate_schedule=constant",
]
OWN = [f"--network={own_code.__name__}:dropout", f"--loss={own_code.__name__}:log_cosh"]
WRAPPED = [f"--wrapper={own_code.__name__}:Half", "--wrapper=gymnasium.wrappers:RecordEpisodeStatistics"]


def command(logdir, *flags):
    return runs.finish(runs.start(*SMALL, f"--logdir={logdir}", *flags))


@pytest.mark.thorough
def test_run_with_code_of_ones_own_is_evaluated_if_it_is_trusted(tmp_path):
    whole = tmp_path / "whole"
    done = command(whole, *OWN, *WRAPPED)
    assert done.returncode == 0, done.stderr
    evaluate = ("-m", "dqn_tf.evaluation")
    refused = runs.finish(runs.start(f"--logdir={whole}", program=evaluate))
    assert refused.returncode == 2
    trusted = refused.stderr.partition("add ")[2].partition(" to trust")[0].split()
    done = runs.finish(runs.start(f"--logdir={whole}", "--episodes=3", *trusted, program=evaluate))
    assert done.returncode == 0, done.stderr
    summary = runs.read_json(whole / "summary.json")
    assert summary["eval_return_mean"] <= 250  # rewards are halved


MISTAKES = [
    ("--network=tests.distributed.own_code:one_value", ": the model makes [2, 1] of 2 observations, not [2, 2]"),
    ("--network=tests.distributed.own_code:dropot", ": tests.distributed.own_code has no dropot; did you mean"),
    ("--loss=tests.distributed.own_code:broken_loss", " raised ValueError: no loss today ("),
]
MORE_MISTAKES = [
    ("--network=tests/own.py:dropout", "; name the module, not its file: --network=tests.own:dropout."),
    ("--network=tests.distributed.own_code:text", " returned str, which must be a keras.Model."),
    ("--network=tests.nowhere:dropout", ": there is no module tests.nowhere."),
    (
        "--network=resnet",
        " must be one of auto, mlp, nature_cnn, impala_cnn, minatar_cnn, or module:function of your own.",
    ),
    ("--loss=tests.distributed.own_code:mean_loss", " made a loss float32(), which must be float32[B], "),
    ("--loss=tests.distributed.own_code:one_of_all", " made a loss float32(1,), which must be float32[B]"),
    ("--loss=tests.distributed.own_code:loss_of_the_target", " does not call online(observation), "),
    ("--loss=tests.distributed.own_code:no_number", "the loss is not finite in updates 1 to 40; check --loss="),
    ("--network=tests.distributed.own_code:always_dropping", " draws random numbers as it acts "),
    ("--network=tests.distributed.own_code:random_values", " draws random numbers as it acts "),
    ("--network=tests.distributed.own_code:narrow", ": the model has weights that are not float32; "),
    ("--network=tests.distributed.own_code:TwoOnly", ", called with observations float32[2, 4] raised "),
    ("--network=tests.distributed.own_code:half_precision", ": the model makes bfloat16 values; give its "),
    ("--wrapper=tests.distributed.own_code:Third", ": tests.distributed.own_code has no Third."),
    ("--wrapper=Half", " must be module:Class, or several separated by commas."),
]


@pytest.mark.parametrize(("flag", "line"), [*MISTAKES, *marks.soak(*MORE_MISTAKES)])
def test_mistake_in_code_of_ones_own_is_a_line_that_names_it(tmp_path, flag, line):
    given = dict(one.removeprefix("--").split("=") for one in [*SMALL, flag])
    with pytest.raises((dqn_tf.ConfigError, dqn_tf.UserCodeFailure)) as raised:
        dqn_tf.train("CartPole-v1", logdir=str(tmp_path / "run"), **given)
    told = str(raised.value)
    assert line in told and flag in told and "\n" not in told
    assert isinstance(raised.value, dqn_tf.UserCodeFailure) == ("raised" in line)


def test_loss_that_raises_is_told_before_anything_is_collected(tmp_path):
    taken = []

    class Counted(gymnasium.Wrapper):
        def step(self, action):
            taken.append(action)
            return super().step(action)

    small = dict(one.removeprefix("--").split("=") for one in SMALL)
    with pytest.raises(dqn_tf.UserCodeFailure, match="no loss today"):
        dqn_tf.train(
            "CartPole-v1", loss=own_code.broken_loss, wrappers=[Counted], logdir=str(tmp_path / "run"), **small
        )
    assert len(taken) <= 2  # to see that it works


def test_command_that_fails_in_code_of_ones_own_says_so_and_shows_where(tmp_path):
    flag = "--network=tests.distributed.own_code:raises"
    done = command(tmp_path / "run", flag)
    assert done.returncode == 1
    (told,) = [one for one in done.stderr.splitlines() if one.startswith(flag)]
    assert " raised RuntimeError: no network today (" in told
    assert "Traceback" in done.stderr


def test_network_of_ones_own_has_the_weights_of_its_seed_and_leaves_pythons_generator_alone():
    import random

    spec = making.spec((4,), np.float32, 3)
    name = f"{own_code.__name__}:dueling"

    def weights(seed):
        return own_network.build(name, spec, settings.build({"seed": seed, "hidden_units": (8,)})).get_weights()

    random.seed(1)
    before = random.getstate()
    assert all(map(np.array_equal, weights(3), weights(3)))
    assert not all(map(np.array_equal, weights(3), weights(4)))
    assert random.getstate() == before


def test_head_of_ones_own_says_what_outputs_mean():
    network = own_code.dueling((4,), 3, settings.build({"hidden_units": (8,)}))
    outputs = tf.constant([[1.0, 4.0, 5.0, 6.0]])
    np.testing.assert_allclose(heads.values_of(network)(outputs), [[1 + 4 - 5, 1 + 5 - 5, 1 + 6 - 5]])


@pytest.mark.parametrize("count", [2, *marks.thorough(4)])
def test_mirrored_run_in_a_library_after_others_takes_the_devices_that_there_are(tmp_path, count):
    small = dict(flag.removeprefix("--").split("=") for flag in SMALL)
    values = {**small, "strategy": "mirrored", "num_replicas": count, "logdir": str(tmp_path / "run")}
    run = dqn_tf.train("CartPole-v1", network=own_code.batch_norm, **values)
    assert run.summary["num_replicas"] == count
    assert replicas(count).num_replicas == count

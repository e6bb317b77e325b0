"""The update by hand on a linear network, its clipping, schedules and target; and every optimizer Keras offers."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from dqn_tf.agent import losses
from dqn_tf.agent import update as update_lib
from dqn_tf.config import schema
from dqn_tf.experience import accumulator, replay
from tests import making, marks
from tests.placements import one_replica, two_replicas

LOSS, Q_MEAN, TD_ERROR_MEAN, GRADIENT_NORM = range(4)
# float32 has 24 bits: values near 1 that were computed in another order differ by a few times 6e-8.
ROUNDING = 1e-6


def sgd(**settings):
    """Returns an Agent of plain gradient steps that never moves the target."""
    plain = dict(
        optimizer="sgd",
        learning_rate=0.1,
        learning_rate_schedule="constant",
        loss="squared",
        double_q=True,
        clip_norm=0.0,
        target_update_period=1000,
    )
    return schema.Learning(**{**plain, **settings})


def make(agent, hidden_units=(), batch_size=2, total_updates=100, jit_compile=False, placement=None, **network):
    """Returns a Learner of an mlp, 2 numbers in, 2 actions out, tanh: a gradient for every weight."""
    build = making.builder("mlp", (2,), np.float32, 2, hidden_units=hidden_units, activation="tanh", **network)
    return making.make_learner(placement or one_replica(), build, agent, batch_size, total_updates, jit_compile)


def linear_learner(agent, batch_size=2, **settings):
    """Returns a Learner with online values (s0, 2 * s1 + 1) and target values (3 * s1, 4 * s0) of s = (s0, s1)."""
    made = make(agent, batch_size=batch_size, **settings)
    made.network.set_weights([np.float32([[1, 0], [0, 2]]), np.float32([0, 1])])
    made.target.set_weights([np.float32([[0, 4], [3, 0]]), np.float32([0, 0])])
    return made


def batches(*transitions):
    """Returns Transitions [1, B, ...] of rows (s_tm1, a_tm1, r_t, discount_t, s_t)."""
    dtypes = (np.float32, np.int32, np.float32, np.float32, np.float32)
    columns = zip(*transitions, strict=True)
    return accumulator.Transitions(
        *(np.array(column, dtype)[np.newaxis] for column, dtype in zip(columns, dtypes, strict=True))
    )


def joined(*many):
    """Returns Transitions [K, B, ...] of several [1, B, ...]."""
    return accumulator.Transitions(*(np.concatenate(columns) for columns in zip(*many, strict=True)))


def random_batches(num_updates, batch_size=8, seed=0, observation_shape=(2,)):
    generator = np.random.default_rng(seed)
    shape = (num_updates, batch_size)
    return accumulator.Transitions(
        generator.normal(size=(*shape, *observation_shape)).astype(np.float32),
        generator.integers(2, size=shape, dtype=np.int32),
        generator.normal(size=shape).astype(np.float32),
        generator.choice(np.float32([0, 0.9]), size=shape),
        generator.normal(size=(*shape, *observation_shape)).astype(np.float32),
    )


def part(of, k):
    """Returns the batches k of `of`, a slice."""
    return accumulator.Transitions(*(column[k] for column in of))


def update(made, transitions):
    """Makes updates from transitions [K, B, ...], and returns the means of their metrics."""
    metrics, priority = made.update(replay.Sample(transitions))
    assert priority is None
    return metrics


def assert_weights(network, expected, tolerance=ROUNDING):
    actual = network.get_weights() if isinstance(network, keras.Model) else network
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


# Online values in (4, 1) are (4, 3): action 0 is selected, which the target values at 3 * 1; its largest is 4 * 4.
FIRST = ((1, 2), 0, 1, 0.5, (4, 1))
FIRST_ERROR = 1 + 0.5 * 3 - 1
SECOND = ((1, -1), 1, -2, 0.0, (99, 99))
SECOND_ERROR = -2 - (2 * -1 + 1)


def gradient_of_two(first, second):
    """Returns the gradient of the mean loss over FIRST and SECOND, given that with respect to their errors."""
    # Minus, as the error falls when the value rises. FIRST moves column 0 by its state (1, 2), SECOND column 1.
    kernel = -np.array([[first * 1, second * 1], [first * 2, second * -1]]) / 2
    return kernel, -np.array([first, second]) / 2


def test_update_when_the_loss_is_squared_takes_the_gradient_step_of_the_mean():
    made = linear_learner(sgd())
    update(made, batches(FIRST, SECOND))
    kernel, bias = gradient_of_two(FIRST_ERROR, SECOND_ERROR)
    np.testing.assert_array_equal(kernel, [[-0.75, 0.5], [-1.5, -0.5]])
    assert_weights(made.network, [[[1, 0], [0, 2]] - 0.1 * kernel, [0, 1] - 0.1 * bias])


def test_update_when_the_loss_is_huber_cuts_the_errors_to_one():
    made = linear_learner(sgd(loss="huber"))
    update(made, batches(FIRST, SECOND))
    kernel, bias = gradient_of_two(1, -1)  # errors 1.5 and -1
    assert_weights(made.network, [[[1, 0], [0, 2]] - 0.1 * kernel, [0, 1] - 0.1 * bias])


def test_update_when_double_q_is_off_takes_the_targets_largest_value():
    made = linear_learner(sgd(double_q=False))
    update(made, batches(FIRST, SECOND))
    kernel, bias = gradient_of_two(1 + 0.5 * 16 - 1, SECOND_ERROR)
    assert_weights(made.network, [[[1, 0], [0, 2]] - 0.1 * kernel, [0, 1] - 0.1 * bias])


def test_update_leaves_the_target_alone_until_it_is_due():
    made = linear_learner(sgd())
    update(made, batches(FIRST, SECOND))
    assert_weights(made.target, [[[0, 4], [3, 0]], [0, 0]], tolerance=0)


def test_update_returns_the_metrics_of_the_batch():
    metrics = update(linear_learner(sgd()), batches(FIRST, SECOND))
    assert metrics.dtype == np.float32
    assert update_lib.METRICS == ("loss", "q_mean", "td_error_mean", "gradient_norm")
    expected = [
        (0.5 * 1.5**2 + 0.5 * 1**2) / 2,
        (1 + 5 + 1 - 1) / 4,  # values (1, 2 * 2 + 1) and (1, 2 * -1 + 1)
        (1.5 + 1) / 2,
        np.sqrt(0.75**2 + 0.5**2 + 1.5**2 + 0.5**2 + 0.75**2 + 0.5**2),
    ]
    np.testing.assert_allclose(metrics, expected, rtol=ROUNDING)


def test_update_when_there_are_several_returns_the_means_of_their_metrics():
    made = linear_learner(sgd(learning_rate=0.0), batch_size=1)
    metrics = update(made, joined(batches(FIRST), batches(SECOND), batches(SECOND)))
    expected = [
        (0.5 * 1.5**2 + 0.5 + 0.5) / 3,
        ((1 + 5) / 2 + 0 + 0) / 3,
        (1.5 + 1 + 1) / 3,
        (np.sqrt(1.5**2 + 3**2 + 1.5**2) + 2 * np.sqrt(3)) / 3,  # error * |(s0, s1, 1)|
    ]
    np.testing.assert_allclose(metrics, expected, rtol=ROUNDING)


# Its gradient is -2 * (2, 2, 1) in column 1, of norm 2 * 3 = 6; the value in (2, 2) is 2 * 2 + 1 = 5.
NORM_6 = ((2, 2), 1, 5 + 2, 0.0, (99, 99))


@pytest.mark.parametrize(
    ("clip_norm", "scale"), [(0.0, 1), (100.0, 1), (6.5, 1), (6.0, 1), (3.0, 3 / 6), (1.5, 1.5 / 6)]
)
def test_update_when_clip_norm_is_below_the_norm_scales_the_gradient_to_it(clip_norm, scale):
    made = linear_learner(sgd(clip_norm=clip_norm), batch_size=1)
    metrics = update(made, batches(NORM_6))
    step = 0.1 * 2 * scale
    assert_weights(made.network, [[[1, 0 + 2 * step], [0, 2 + 2 * step]], [0, 1 + step]])
    np.testing.assert_allclose(metrics[GRADIENT_NORM], 6, rtol=ROUNDING)  # as it was before


def test_update_when_the_gradient_is_zero_changes_nothing():
    made = linear_learner(sgd(clip_norm=1.0), batch_size=1)
    metrics = update(made, batches(((2, 2), 1, 5, 0.0, (99, 99))))
    assert_weights(made.network, [[[1, 0], [0, 2]], [0, 1]], tolerance=0)
    assert metrics[LOSS] == metrics[GRADIENT_NORM] == 0


@pytest.mark.parametrize(
    ("bad", "clip_norm", "jit_compile"),
    [(np.nan, 0.0, False), (np.nan, 1.0, False), (np.inf, 1.0, False), (np.nan, 1.0, True)],
)
def test_update_when_a_reward_is_not_finite_says_so_in_the_metrics(bad, clip_norm, jit_compile):
    broken = random_batches(3)
    broken.r_t[1, 4] = bad
    made = make(sgd(clip_norm=clip_norm), batch_size=8, jit_compile=jit_compile)
    metrics = update(made, broken)
    assert not np.isfinite(metrics[[LOSS, TD_ERROR_MEAN, GRADIENT_NORM]]).any()
    assert not np.isfinite(update(made, random_batches(3))).any()  # and it does not heal


def offered_by_keras():
    base = keras.optimizers.Optimizer
    members = {name.lower(): member for name, member in vars(keras.optimizers).items() if isinstance(member, type)}
    return {name for name, member in members.items() if issubclass(member, base) and member is not base}


NOT_OFFERED_HERE = {
    # Skips a step where a gradient is not finite, and looks for that before the replicas' gradients are summed;
    # float32 and bfloat16 need no scaling of the loss.
    "lossscaleoptimizer",
    # A wrapper of several optimizers for parts of a model: it takes no learning rate.
    "multioptimizer",
    # Meant to be evaluated with the average it keeps of the weights, which Keras does not hand out.
    "schedulefreeadamw",
}


def test_optimizers_of_the_command_line_are_those_of_keras():
    assert set(schema.OPTIMIZERS) - {"centered_rmsprop"} == offered_by_keras() - NOT_OFFERED_HERE
    assert offered_by_keras() > NOT_OFFERED_HERE


NO_ACTIVATIONS_OF_HIDDEN_LAYERS = {
    "glu",  # halves the units
    "softmax",  # over the units, as the next two: for probabilities
    "log_softmax",
    "sparsemax",
    "threshold",  # needs an argument
    "exponential",  # overflows
    "hard_shrink",
    "soft_shrink",
    "sparse_plus",
    "sparse_sigmoid",
    "squareplus",
    "hard_swish",  # another name of hard_silu
}


def test_activations_of_the_command_line_are_those_of_keras():
    functions = {name for name, member in vars(keras.activations).items() if callable(member)}
    known = functions - {"deserialize", "get", "serialize"}
    assert set(schema.ACTIVATIONS) == known - NO_ACTIVATIONS_OF_HIDDEN_LAYERS
    assert known > NO_ACTIVATIONS_OF_HIDDEN_LAYERS


def state(made):
    """Returns the weights of the network and its target, and the optimizer's slots."""
    return [*made.weights(), *made.target.get_weights(), *(slot.numpy() for slot in made.optimizer.variables)]


OTHERS = [name for name in schema.OPTIMIZERS if name not in ("adam", "sgd", "rmsprop")]


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop", *marks.thorough(*OTHERS)])
def test_update_when_the_optimizer_is_any_of_keras_makes_the_same_step_on_one_replica_and_on_two(optimizer):
    agent = sgd(optimizer=optimizer, learning_rate=0.01, learning_rate_schedule="linear", clip_norm=1.0)
    one, two = (make(agent, batch_size=8, placement=place()) for place in (one_replica, two_replicas))
    before = one.weights()
    for made in (one, two):
        assert np.isfinite(update(made, random_batches(2))).all()
    for old, new in zip(before, one.weights(), strict=True):
        assert np.isfinite(new).all() and (old != new).any()
    # The two halves of a batch are summed in another order, and some optimizers divide by what is near 0.
    assert_weights(state(two), state(one), tolerance=1e-5)


@pytest.mark.parametrize(
    ("schedule", "steps"),
    [
        ("constant", {0: 0.1, 6: 0.1, 100: 0.1}),
        ("linear", {0: 0.1, 3: 0.1 - 0.08 * 0.25, 6: 0.1 - 0.08 * 0.5, 12: 0.02, 13: 0.02}),
        # 0.02 + 0.08 * (1 + cos(pi t / 12)) / 2: the cosine is 1/2 at 4, 0 at 6 and -1/2 at 8
        ("cosine", {0: 0.1, 4: 0.02 + 0.08 * 0.75, 6: 0.06, 8: 0.02 + 0.08 * 0.25, 12: 0.02, 13: 0.02}),
        ("inverse_time", {0: 0.1, 1: 0.1 / 1.5, 2: 0.1 / 2, 6: 0.1 / 4}),
    ],
)
def test_learning_rate_follows_its_schedule(schedule, steps):
    agent = sgd(learning_rate_schedule=schedule, learning_rate_final=0.02, learning_rate_decay=0.5)
    made = make(agent, total_updates=12)
    for step, expected in steps.items():
        made.optimizer.iterations.assign(step)
        np.testing.assert_allclose(made.learning_rate, expected, rtol=ROUNDING)


def test_learning_rate_when_cosine_starts_at_0_stays_there():
    made = make(sgd(learning_rate=0.0, learning_rate_schedule="cosine"))
    assert made.learning_rate == 0


def test_update_when_the_schedule_falls_takes_the_rate_of_each_update():
    made = linear_learner(sgd(learning_rate_schedule="linear"), batch_size=1, total_updates=2)
    once = batches(((0, 0), 1, 2, 0.0, (99, 99)))  # value 1 + bias change, so the error is 1, then 1 less the change
    biases = []
    for _ in range(3):
        update(made, once)
        biases.append(made.weights()[1][1])
    np.testing.assert_allclose(biases, [1 + 0.1 * 1, 1.1 + 0.05 * 0.9, 1.1 + 0.05 * 0.9], rtol=ROUNDING)
    assert made.num_updates == 3


@pytest.mark.parametrize("place", [one_replica, two_replicas])
def test_learner_when_made_has_the_networks_weights_in_the_target(place):
    seeds = itertools.count()

    def build():
        return making.network("mlp", (2,), np.float32, 2, hidden_units=(4,), seed=1000 * next(seeds))

    made = making.make_learner(place(), build, sgd(), 2, 10)
    assert next(seeds) == 2  # the two started with other weights
    assert_weights(made.target, made.weights(), tolerance=0)
    assert made.num_updates == 0


def one_at_a_time(agent, updates, **settings):
    """Returns (online, target) weights after each update of `updates`, and those before the first."""
    made = make(agent, hidden_units=(4,), batch_size=8, **settings)
    trail = [(made.weights(), made.target.get_weights())]
    for k in range(len(updates.a_tm1)):
        update(made, part(updates, slice(k, k + 1)))
        trail.append((made.weights(), made.target.get_weights()))
    return trail


def test_target_when_it_has_a_period_is_copied_after_every_period():
    trail = one_at_a_time(sgd(target_update_period=3), random_batches(7))
    copied_after = [0, 0, 0, 3, 3, 3, 6, 6]
    for (_, target), source in zip(trail, copied_after, strict=True):
        assert_weights(target, trail[source][0], tolerance=0)
    for older, newer in ((0, 3), (3, 6)):
        assert not np.allclose(trail[older][0][0], trail[newer][0][0], atol=1e-3)


@pytest.mark.parametrize("jit_compile", [False, *marks.thorough(True)])
def test_target_when_updates_are_not_a_multiple_of_the_period_is_copied_in_their_midst(jit_compile):
    agent, updates = sgd(target_update_period=3), random_batches(8)
    trail = one_at_a_time(agent, updates)
    made = make(agent, hidden_units=(4,), batch_size=8, jit_compile=jit_compile)
    for first, copied_after in ((0, 3), (4, 6)):
        update(made, part(updates, slice(first, first + 4)))
        assert_weights(made.target, trail[copied_after][0])
        assert_weights(made.network, trail[first + 4][0])


def test_target_when_averaged_moves_by_the_rate_after_each_update():
    trail = one_at_a_time(sgd(target_update_period=0, target_update_rate=0.25), random_batches(3))
    for (_, before), (online, after) in zip(trail, trail[1:], strict=False):
        assert_weights(after, [old + 0.25 * (new - old) for old, new in zip(before, online, strict=True)])
        assert not np.allclose(before[0], after[0], atol=1e-3)


def test_target_when_the_rate_is_1_is_the_network():
    trail = one_at_a_time(sgd(target_update_period=0, target_update_rate=1.0), random_batches(2))
    for online, target in trail:
        assert_weights(target, online, tolerance=0)


ADAM = sgd(
    optimizer="adam", learning_rate=0.01, loss="huber", clip_norm=0.3, target_update_period=0, target_update_rate=0.1
)


def test_update_when_many_in_one_call_equals_one_in_each_of_many_calls():
    updates = random_batches(6)
    together, apart = (make(ADAM, hidden_units=(4,), batch_size=8) for _ in range(2))
    metrics = update(together, updates)
    each = [update(apart, part(updates, slice(k, k + 1))) for k in range(6)]
    assert together.num_updates == apart.num_updates == 6
    assert_weights(state(together), state(apart))
    np.testing.assert_allclose(metrics, np.mean(each, axis=0), rtol=1e-5)  # sums of six in another order


def test_update_when_compiled_equals_the_one_that_is_not():
    compiled, plain = (make(ADAM, hidden_units=(16, 16), batch_size=8, jit_compile=jit) for jit in (True, False))
    for seed in range(2):
        metrics = update(compiled, random_batches(10, seed=seed))
        np.testing.assert_allclose(metrics, update(plain, random_batches(10, seed=seed)), rtol=1e-4)
    # XLA fuses and reorders sums; Adam divides by roots of them, which carries roundings on: 20 steps of 0.01.
    assert_weights(state(compiled), state(plain), tolerance=1e-5)


@pytest.mark.parametrize("placement", [one_replica, *marks.thorough(two_replicas)])
def test_update_that_xla_cannot_compile_is_made_without_it_and_one_line_says_so(placement, warnings, monkeypatch):
    huber = losses.LOSSES["huber"]

    def with_host(error):
        nothing = tf.numpy_function(lambda x: x * 0, [error], tf.float32, stateful=False)
        return huber(error) + tf.stop_gradient(tf.reshape(nothing, tf.shape(error)))

    monkeypatch.setitem(losses.LOSSES, "huber", with_host)
    compiled, plain = (
        make(sgd(loss="huber"), (4,), 8, jit_compile=jit, placement=placement()) for jit in (True, False)
    )
    for made in (compiled, plain):
        made.target.set_weights([one + 1 for one in made.target.get_weights()])  # as after a resume
        for seed in range(2):
            update(made, random_batches(2, seed=seed))
    assert_weights(state(compiled), state(plain), tolerance=0)
    (line,) = warnings()
    assert line.startswith("jit_compile: false, because XLA cannot compile this update (") and "\n" not in line


@pytest.mark.parametrize("jit_compile", [False, *marks.thorough(True)])
def test_update_when_called_again_is_not_traced_again(jit_compile):
    made = make(ADAM, hidden_units=(4,), batch_size=8, jit_compile=jit_compile)
    for seed in range(3):
        update(made, random_batches(2, seed=seed))
    assert made.num_traces == 1
    update(made, random_batches(3))
    assert made.num_traces == 2  # another number of updates


@pytest.mark.parametrize("jit_compile", [False, *marks.thorough(True)])
def test_weights_gives_a_copy_that_later_updates_leave_alone(jit_compile):
    made = make(ADAM, hidden_units=(4,), batch_size=8, jit_compile=jit_compile)
    update(made, random_batches(2))
    taken = made.weights()
    kept = [array.copy() for array in taken]
    update(made, random_batches(2))
    assert_weights(taken, kept, tolerance=0)
    assert (taken[0] != made.weights()[0]).any()
    assert [array.shape for array in taken] == [variable.shape for variable in made.network.weights]


def test_update_when_the_network_is_convolutional_changes_every_weight():
    build = making.builder("nature_cnn", (2, 36, 36), np.uint8, 2, largest=255)
    made = making.make_learner(one_replica(), build, ADAM, 4, 10)
    frames = np.random.default_rng(0).integers(256, size=(2, 1, 4, 2, 36, 36), dtype=np.uint8)
    updates = random_batches(1, batch_size=4)._replace(s_tm1=frames[0], s_t=frames[1])
    before = made.weights()
    assert np.isfinite(update(made, updates)).all()
    assert all((old != new).any() for old, new in zip(before, made.weights(), strict=True))


def test_update_when_bfloat16_stays_near_float32():
    exact, rough = (
        make(sgd(), hidden_units=(16,), batch_size=8, precision=precision) for precision in ("float32", "bfloat16")
    )
    start = exact.weights()
    update(exact, random_batches(3))
    update(rough, random_batches(3))
    for a, b, c in zip(start, exact.weights(), rough.weights(), strict=True):
        assert c.dtype == np.float32
        # The steps themselves agree to some roundings of 8 bits, 0.4 % each.
        assert 0 < np.abs(b - c).max() < 0.1 * np.abs(b - a).max()

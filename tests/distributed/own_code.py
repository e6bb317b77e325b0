"""Networks, losses and a wrapper as a user writes them, for --network=tests.distributed.own_code:..."""

import gymnasium
import keras
import tensorflow as tf

import dqn_tf


def dropout(shape, num_actions, settings):
    """A chain whose second layer is large enough to be factored, if there were no random numbers."""
    x = inputs = keras.Input(shape)
    for units in settings.network.hidden_units:
        x = keras.layers.Dropout(0.3)(keras.layers.Dense(units, activation="relu")(x))
    x = keras.layers.GaussianNoise(0.1)(x)
    return keras.Model(inputs, keras.layers.Dense(num_actions)(x))


def batch_norm(shape, num_actions, settings):
    """The observations are normalized first: the mean of them that it holds is one of data alone."""
    layers = [keras.layers.BatchNormalization(momentum=0.5), keras.layers.Dense(16, activation="relu")]
    return keras.Sequential([keras.Input(shape), *layers, keras.layers.Dense(num_actions)])


def normalized_dropout(shape, num_actions, settings):
    """Has state and random numbers."""
    layers = [keras.layers.BatchNormalization(), keras.layers.Dense(16, activation="relu"), keras.layers.Dropout(0.2)]
    return keras.Sequential([keras.Input(shape), *layers, keras.layers.Dense(num_actions)])


def frozen(shape, num_actions, settings):
    """A layer as it was before, such as one of another task, in front of one that learns."""
    before = keras.layers.Dense(16, activation="relu", trainable=False)
    return keras.Sequential([keras.Input(shape), before, keras.layers.Dense(num_actions)])


@keras.saving.register_keras_serializable("tests")
class RunningMean(keras.layers.Layer):
    """Subtracts the mean of what it has seen, and counts its calls in training."""

    def build(self, shape):
        self.mean = self.add_weight(shape=shape[-1:], trainable=False, initializer="zeros", name="mean")
        self.count = self.add_weight(shape=(), trainable=False, initializer="zeros", dtype="int32", name="count")

    def call(self, x, training=False):
        before = self.mean + 0.0  # as it is now: the variable itself would be read later
        if training:
            self.mean.assign(before + 0.5 * (keras.ops.mean(x, axis=0) - before))
            self.count.assign(self.count + 1)
        return x - before


def running_mean(shape, num_actions, settings):
    layers = [RunningMean(), keras.layers.Dense(16, activation="relu"), keras.layers.Dense(num_actions)]
    return keras.Sequential([keras.Input(shape), *layers])


def regularized(shape, num_actions, settings):
    layer = keras.layers.Dense(num_actions, kernel_regularizer=keras.regularizers.L2(0.5))
    return keras.Sequential([keras.Input(shape), layer])


def punished(shape, num_actions, settings):
    """Punishes what a layer gives, and keeps weights small."""
    small = keras.constraints.MaxNorm(0.4)
    layer = keras.layers.Dense(96, activation="relu", activity_regularizer="l2", kernel_constraint=small)
    others = [keras.layers.Dense(96, name="of_one_name"), keras.layers.Dense(num_actions)]
    return keras.Sequential([keras.Input(shape), layer, *others])


def spatial_dropout(shape, num_actions, settings):
    layers = [keras.layers.Reshape((-1, 2)), keras.layers.SpatialDropout1D(0.3), keras.layers.Flatten()]
    return keras.Sequential([keras.Input(shape), *layers, keras.layers.Dense(num_actions)])


@keras.saving.register_keras_serializable("tests")
class DuelingHead(keras.layers.Layer):
    """Gives a value and advantages; `values` makes action values of them."""

    def __init__(self, num_actions, **kwargs):
        super().__init__(**kwargs)
        self.num_actions = num_actions
        self.value, self.advantage = keras.layers.Dense(1), keras.layers.Dense(num_actions)

    def call(self, x):
        return keras.ops.concatenate([self.value(x), self.advantage(x)], axis=-1)

    def values(self, outputs):
        """Source: Wang et al. 2016, eq. 9 (arXiv:1511.06581)."""
        value, advantage = outputs[:, :1], outputs[:, 1:]
        return value + advantage - keras.ops.mean(advantage, axis=-1, keepdims=True)

    def get_config(self):
        return {**super().get_config(), "num_actions": self.num_actions}


def dueling(shape, num_actions, settings):
    """Large enough to be factored, if it were a chain."""
    x = inputs = keras.Input(shape)
    for units in settings.network.hidden_units:
        x = keras.layers.Dense(units, activation="relu")(x)
    return keras.Model(inputs, DuelingHead(num_actions)(x))


def raises(shape, num_actions, settings):
    raise RuntimeError("no network today")


def one_value(shape, num_actions, settings):
    return keras.Sequential([keras.Input(shape), keras.layers.Dense(1)])


def always_dropping(shape, num_actions, settings):
    x = inputs = keras.Input(shape)
    x = keras.layers.Dense(num_actions)(x)
    return keras.Model(inputs, Noisy()(x))


class Noisy(keras.layers.Layer):
    """Draws random numbers whenever it is called."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.generator = keras.random.SeedGenerator(1)

    def call(self, x):
        return x + keras.random.normal(keras.ops.shape(x), seed=self.generator)


def half_precision(shape, num_actions, settings):
    return keras.Sequential([keras.Input(shape), keras.layers.Dense(num_actions, dtype="bfloat16")])


def narrow(shape, num_actions, settings):
    layers = [keras.layers.Dense(8, dtype="bfloat16"), keras.layers.Dense(num_actions, dtype="float32")]
    return keras.Sequential([keras.Input(shape), *layers])


class TwoOnly(keras.Model):
    """Reads the number of observations when it is traced."""

    def __init__(self, shape, num_actions, settings):
        super().__init__()
        self.layer = keras.layers.Dense(num_actions)

    def call(self, x):
        return self.layer(tf.reshape(x, [x.shape[0], -1]))


def random_values(shape, num_actions, settings):
    x = inputs = keras.Input(shape)
    x = keras.layers.Dense(num_actions)(x)
    return keras.Model(inputs, keras.layers.Lambda(lambda x: x + tf.random.normal(tf.shape(x)))(x))


def text(shape, num_actions, settings):
    return "a network"


def log_cosh(error):
    return tf.math.log(tf.cosh(error))


def expected_sarsa(online, target, transitions):
    s_tm1, a_tm1, r_t, discount_t, s_t = transitions
    expected = tf.reduce_mean(target.values(s_t), axis=-1)
    taken = tf.gather(online.values(s_tm1), a_tm1, batch_dims=1)
    error = tf.stop_gradient(r_t + discount_t * expected) - taken
    return dqn_tf.LossOutput(0.5 * tf.square(error), 2 * tf.abs(error))


def twice(online, target, transitions):
    """Calls the online network twice in training, as residual gradients do."""
    s_tm1, a_tm1, r_t, discount_t, s_t = transitions
    reached = tf.reduce_max(online.values(s_t), axis=-1)
    error = r_t + discount_t * reached - tf.gather(online.values(s_tm1), a_tm1, batch_dims=1)
    return dqn_tf.LossOutput(0.5 * tf.square(error), tf.abs(error))


def residual(online, target, transitions):
    """Has gradients of values of the next observation, which the network gives as it acts."""
    s_tm1, a_tm1, r_t, discount_t, s_t = transitions
    reached = tf.reduce_max(online.values(s_t, training=False), axis=-1)
    error = r_t + discount_t * reached - tf.gather(online.values(s_tm1), a_tm1, batch_dims=1)
    return dqn_tf.LossOutput(0.5 * tf.square(error), tf.abs(error))


def mean_loss(online, target, transitions):
    loss, priority = expected_sarsa(online, target, transitions)
    return dqn_tf.LossOutput(tf.reduce_mean(loss), priority)


def one_of_all(online, target, transitions):
    loss, priority = expected_sarsa(online, target, transitions)
    return dqn_tf.LossOutput(tf.reduce_mean(loss, keepdims=True), priority)


def loss_of_the_target(online, target, transitions):
    error = tf.reduce_max(target.values(transitions.s_tm1), axis=-1)
    return dqn_tf.LossOutput(error, tf.abs(error))


def no_number(error):
    return error / 0.0


def broken_loss(online, target, transitions):
    raise ValueError("no loss today")


class Half(gymnasium.RewardWrapper):
    """Halves rewards."""

    def reward(self, reward):
        return reward / 2

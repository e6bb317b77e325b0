"""Q-networks: shapes, parameter counts by hand, what goes into the first layer, seeds; and which one is chosen."""

import numpy as np
import pytest

from dqn_tf.agent import architecture
from dqn_tf.config import schema
from dqn_tf.environment import spec
from tests import making

FLOAT32 = np.dtype(np.float32)
UINT8 = np.dtype(np.uint8)


def values(network, observation):
    return np.asarray(network(observation))


@pytest.mark.parametrize(
    ("hidden_units", "shapes", "count"),
    [
        ((), [(4, 2), (2,)], 4 * 2 + 2),
        ((64, 64), [(4, 64), (64,), (64, 64), (64,), (64, 2), (2,)], 4 * 64 + 64 + 64 * 64 + 64 + 64 * 2 + 2),
        ((128, 64), [(4, 128), (128,), (128, 64), (64,), (64, 2), (2,)], 4 * 128 + 128 + 128 * 64 + 64 + 64 * 2 + 2),
    ],
)
def test_build_when_mlp_has_the_hidden_units_asked_for(hidden_units, shapes, count):
    network = making.network("mlp", (4,), FLOAT32, 2, hidden_units=hidden_units)
    assert [weight.shape for weight in network.weights] == shapes
    assert network.count_params() == count
    assert network.output_shape == (None, 2)


def test_build_when_mlp_sees_an_image_flattens_it():
    network = making.network("mlp", (3, 5, 2), UINT8, 4, hidden_units=(7,))
    assert [weight.shape for weight in network.weights] == [(3 * 5 * 2, 7), (7,), (7, 4), (4,)]


@pytest.mark.parametrize("shape", [(84, 84, 4), (4, 84, 84)])
def test_build_when_nature_cnn_has_the_parameters_of_mnih_et_al(shape):
    network = making.network("nature_cnn", shape, UINT8, 18)
    conv0 = 8 * 8 * 4 * 32 + 32  # 84 -> (84 - 8) / 4 + 1 = 20
    conv1 = 4 * 4 * 32 * 64 + 64  # 20 -> (20 - 4) / 2 + 1 = 9
    conv2 = 3 * 3 * 64 * 64 + 64  # 9 -> 9 - 3 + 1 = 7
    dense = 7 * 7 * 64 * 512 + 512
    assert network.count_params() == conv0 + conv1 + conv2 + dense + 512 * 18 + 18
    assert network.output_shape == (None, 18)


def test_build_when_nature_cnn_ignores_hidden_units():
    network = making.network("nature_cnn", (36, 36, 1), UINT8, 2, hidden_units=(7, 7))
    assert network.get_layer("hidden0").units == 512
    assert [layer.name for layer in network.layers if layer.name.startswith("hidden")] == ["hidden0"]


def test_build_when_the_image_is_of_the_smallest_size_leaves_one_pixel_of_it():
    # 36 -> (36 - 8) / 4 + 1 = 8 -> (8 - 4) / 2 + 1 = 3 -> 3 - 3 + 1 = 1
    network = making.network("nature_cnn", (architecture.NATURE_CNN.min_image_size,) * 2, UINT8, 2)
    assert network.get_layer("conv2").output.shape == (None, 1, 1, 64)


@pytest.mark.parametrize(
    ("kind", "shape"), [("mlp", (3,)), ("mlp", (3, 5)), ("nature_cnn", (36, 36, 4)), ("nature_cnn", (4, 36, 36))]
)
def test_build_when_observations_are_bytes_equals_its_float_twin_on_values_from_0_to_1(kind, shape):
    frames = np.random.default_rng(0).integers(256, size=(5, *shape), dtype=np.uint8)
    frames[0], frames[1] = 255, 0
    of_bytes = making.network(kind, shape, UINT8, 3, largest=255, seed=4)
    of_floats = making.network(kind, shape, FLOAT32, 3, seed=4)
    unit = frames.astype(np.float32) / 255
    assert unit[0].min() == unit[0].max() == 1.0
    # float32 rounds 1/255, so scaled values differ in the last digit.
    np.testing.assert_allclose(values(of_bytes, frames), values(of_floats, unit), rtol=1e-4, atol=1e-5)


def test_build_when_observations_are_bytes_sees_255_as_1():
    network = making.network("mlp", (3,), UINT8, 2, largest=255, hidden_units=())
    kernel, bias = network.get_weights()
    actual = values(network, np.uint8([[255, 255, 255], [0, 255, 0], [51, 0, 0], [0, 0, 0]]))
    expected = bias + [kernel.sum(axis=0), kernel[1], 0.2 * kernel[0], np.zeros(2)]  # 51 = 255 / 5
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)  # float32 rounds 1/255


def test_build_when_channels_come_first_gives_the_values_of_channels_last():
    last = np.random.default_rng(0).integers(256, size=(3, 40, 44, 4), dtype=np.uint8)
    first = np.transpose(last, (0, 3, 1, 2))
    channels_last = making.network("nature_cnn", (40, 44, 4), UINT8, 3, largest=255)
    channels_first = making.network("nature_cnn", (4, 40, 44), UINT8, 3, largest=255)
    np.testing.assert_array_equal(values(channels_first, first), values(channels_last, last))


def test_build_when_images_have_no_channels_gives_the_values_of_one_channel():
    frames = np.random.default_rng(0).integers(256, size=(3, 36, 40), dtype=np.uint8)
    flat = making.network("nature_cnn", (36, 40), UINT8, 3, largest=255)
    deep = making.network("nature_cnn", (36, 40, 1), UINT8, 3, largest=255)
    np.testing.assert_array_equal(values(flat, frames), values(deep, frames[..., np.newaxis]))


def test_build_when_an_activation_of_the_command_line_is_asked_for_uses_it():
    for activation in schema.ACTIVATIONS:
        network = making.network("mlp", (3,), FLOAT32, 2, hidden_units=(4,), activation=activation)
        hidden = network.get_layer("hidden0")
        assert {"swish": "silu"}.get(activation, activation) == hidden.activation.__name__
        assert np.isfinite(values(network, np.float32([[-100, 0, 100], [-1, 0, 1]]))).all(), activation


@pytest.mark.parametrize("kind", ["mlp", "nature_cnn"])
def test_build_when_the_seed_is_equal_gives_equal_weights_and_else_others(kind):
    first, again, other = (making.network(kind, (36, 36, 2), UINT8, 3, seed=seed).get_weights() for seed in (3, 3, 4))
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.isclose(a, c).all()


def test_build_starts_weights_and_biases_uniform_within_one_by_the_root_of_the_fan_in():
    weights = making.network("nature_cnn", (84, 84, 4), UINT8, 100, seed=5).get_weights()
    fans_in = [8 * 8 * 4, 4 * 4 * 32, 3 * 3 * 64, 7 * 7 * 64, 512]
    for i, fan_in in enumerate(fans_in):
        for weight in weights[2 * i : 2 * i + 2]:
            limit = 1 / np.sqrt(fan_in)
            assert 0.8 * limit < np.abs(weight).max() <= limit
            # Uniform: standard deviation limit / sqrt(3). Of the 32 biases of the first layer that is off by some 10 %.
            np.testing.assert_allclose(weight.std(), limit / np.sqrt(3), rtol=0.3 if weight.ndim == 1 else 0.02)


def test_build_when_two_layers_have_one_shape_starts_them_differently():
    first, _, second, *_ = making.network("mlp", (8,), FLOAT32, 2, hidden_units=(8, 8)).get_weights()
    assert not np.isclose(first, second).any()


@pytest.mark.parametrize("kind", ["mlp", "nature_cnn"])
def test_build_when_bfloat16_gives_float32_values_near_those_of_float32(kind):
    frames = np.random.default_rng(0).integers(256, size=(16, 36, 36, 2), dtype=np.uint8)
    exact, rough = (
        making.network(kind, (36, 36, 2), UINT8, 3, largest=255, precision=precision)
        for precision in ("float32", "bfloat16")
    )
    assert {weight.dtype for weight in rough.weights} == {"float32"}
    assert rough.outputs[0].dtype == "float32"
    expected, actual = values(exact, frames), values(rough, frames)
    assert actual.dtype == np.float32
    # bfloat16 has 8 bits of mantissa, 0.4 % a rounding; a few layers of them stay below 5 % of the largest value.
    assert 0 < np.abs(actual - expected).max() < 0.05 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "expected"),
    [
        ("auto", (4,), FLOAT32, "mlp"),
        ("auto", (128,), UINT8, "mlp"),
        ("auto", (84, 84), UINT8, "nature_cnn"),
        ("auto", (84, 84, 4), UINT8, "nature_cnn"),
        ("auto", (4, 84, 84), UINT8, "nature_cnn"),
        ("auto", (36, 36, 1), UINT8, "nature_cnn"),
        ("auto", (35, 36, 1), UINT8, "mlp"),
        ("auto", (4, 84, 35), UINT8, "mlp"),
        ("auto", (84, 84, 4), FLOAT32, "mlp"),
        ("auto", (2, 84, 84, 3), UINT8, "mlp"),
        ("mlp", (84, 84, 4), UINT8, "mlp"),
        ("nature_cnn", (84, 84, 4), FLOAT32, "nature_cnn"),
        ("nature_cnn", (36, 36), FLOAT32, "nature_cnn"),
    ],
)
def test_choose_takes_the_network_that_suits_the_observations(name, shape, dtype, expected):
    assert architecture.choose(name, making.spec(shape, dtype, 2)).name == expected


@pytest.mark.parametrize("shape", [(4,), (35, 36, 1), (4, 84, 35), (2, 84, 84, 3)])
def test_choose_when_nature_cnn_cannot_see_the_observations_says_why(shape):
    with pytest.raises(schema.ConfigError) as raised:
        architecture.choose("nature_cnn", making.spec(shape, UINT8, 2))
    assert str(raised.value) == (
        "--network=nature_cnn needs images of at least 36 x 36, "
        f"this environment's observations have shape {shape}; use --network=mlp."
    )


@pytest.mark.parametrize(
    ("shape", "is_channels_first", "size"),
    [
        ((84, 80), False, (84, 80)),
        ((84, 80, 3), False, (84, 80)),
        ((3, 84, 80), True, (84, 80)),
        ((84, 84, 84), False, (84, 84)),
    ],
)
def test_image_size_reads_both_layouts(shape, is_channels_first, size):
    assert spec.is_channels_first(shape) is is_channels_first
    assert spec.image_size(shape) == size


@pytest.mark.parametrize(
    "name, shape, dtype, expected",
    [
        ("mlp", (84, 84), UINT8, "--network=mlp"),
        ("auto", (84, 84), UINT8, "observations are uint8 of shape (84, 84)"),
        ("auto", (7, 7, 3), UINT8, "observations are uint8 of shape (7, 7, 3), not uint8 images of at least 36 x 36"),
        ("auto", (4,), np.float32, "observations are float32 of shape (4,), not uint8 images of at least 36 x 36"),
    ],
)
def test_reason_of_a_network_is_what_was_asked_for_or_what_observations_are(name, shape, dtype, expected):
    assert architecture.reason(name, making.spec(shape, dtype, 2)) == expected

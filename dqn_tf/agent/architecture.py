"""Which Q-network suits an observation. Without TensorFlow: it decides threads and placement before that starts."""

import numpy as np

from dqn_tf.config.schema import ConfigError

NATURE_MIN_SIZE = 36  # valid convolutions of 8/4, 4/2 and 3/1 leave 1 x 1 of it


def choose(name: str, observation_shape: tuple[int, ...], observation_dtype: np.dtype) -> str:
    """Returns mlp or nature_cnn for --network=`name`.

    auto takes nature_cnn for uint8 observations [H, W], [H, W, C] or [C, H, W] of at least 36 x 36.
    Raises:
      ConfigError: nature_cnn is asked for and observations are no images, or too small.
    """
    is_large = len(observation_shape) in (2, 3) and min(image_size(observation_shape)) >= NATURE_MIN_SIZE
    if name == "auto":
        return "nature_cnn" if is_large and observation_dtype == np.uint8 else "mlp"
    if name == "nature_cnn" and not is_large:
        raise ConfigError(
            f"--network=nature_cnn needs images of at least {NATURE_MIN_SIZE} x {NATURE_MIN_SIZE}, "
            f"this environment's observations have shape {tuple(observation_shape)}; use --network=mlp."
        )
    return name


def reason(name: str, observation_shape: tuple[int, ...], observation_dtype: np.dtype) -> str:
    """Returns why `choose` has chosen what it has."""
    if name != "auto":
        return f"--network={name}"
    seen = f"observations are {np.dtype(observation_dtype)} of shape {tuple(observation_shape)}"
    if choose(name, observation_shape, observation_dtype) == "nature_cnn":
        return seen
    return f"{seen}, not uint8 images of at least {NATURE_MIN_SIZE} x {NATURE_MIN_SIZE}"


def image_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Returns height and width of an image's shape [H, W], [H, W, C] or [C, H, W]."""
    return shape[1:] if is_channels_first(shape) else shape[:2]


def is_channels_first(shape: tuple[int, ...]) -> bool:
    """Returns whether `shape` reads as [C, H, W]: stacked frames come so."""
    return len(shape) == 3 and shape[0] < shape[2]

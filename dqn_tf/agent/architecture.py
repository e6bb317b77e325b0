"""The kinds of Q-network. Without TensorFlow: they decide threads and placement before that starts."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dqn_tf.config import user_code
from dqn_tf.config.schema import Config, ConfigError
from dqn_tf.environment.spec import EnvironmentSpec, image_size


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A kind of Q-network. What a record lacks falls back to what always works.

    Attributes:
      name: --network's word for it.
      build: returns a new Keras model for an environment, inputs [B, *observation_shape], with the same weights each
        time.
      is_convolutional: whether its operations gain from many threads, and lose by XLA on a CPU.
      can_compile: whether XLA has been measured to make it faster.
      min_image_size: it takes images of at least that height and width alone; 0: any observation.
      num_weights: how many it has, to know what memory it takes; None: few.
      check: raises ConfigError or UserCodeFailure if a run cannot use a result of `build`; None: every run can.
      policy: returns a Policy that acts without TensorFlow; None, or a result of None: there is none.
    """

    name: str
    build: Callable[[EnvironmentSpec, Config], Any]
    is_convolutional: bool
    can_compile: bool = False
    min_image_size: int = 0
    num_weights: Callable[[EnvironmentSpec, Config], int] | None = None
    check: Callable[[Any, EnvironmentSpec, Config], None] | None = None
    policy: Callable[[EnvironmentSpec, Config], Any] | None = None

    @property
    def is_for_images(self) -> bool:
        """Whether it scales its observations, as images."""
        return self.is_convolutional or self.min_image_size > 0

    def takes(self, spec: EnvironmentSpec) -> bool:
        """Returns whether it can be built for these observations."""
        shape = spec.observation_shape
        return not self.min_image_size or len(shape) in (2, 3) and min(image_size(shape)) >= self.min_image_size


def _of_torso(name):
    """Returns the function that builds a network with a torso of torsos.py."""

    def build(spec, config):
        from dqn_tf.agent import networks, torsos

        return networks.build(getattr(torsos, name), spec, config)

    return build


def _numpy_policy(spec, config):
    from dqn_tf.agent import numpy_policy

    return numpy_policy.create(spec, config)


def _mlp_weights(spec, config):
    """Returns how many weights dense layers of the torso, the streams and the embedding of fractions have."""
    network, num_streams = config.network, 1 + config.network.dueling
    of_head = {"categorical": network.num_atoms, "quantile": network.num_quantiles}.get(network.head, 1)
    torso = [math.prod(spec.observation_shape), *network.hidden_units[:-1]]
    stream = [torso[-1], *network.hidden_units[-1:]]
    outputs = of_head * (spec.num_actions + network.dueling)
    last = num_streams * _dense_weights(stream) + (stream[-1] + 1) * outputs
    embedding = _dense_weights([64, torso[-1]]) if network.head == "implicit_quantile" else 0
    return network.num_critics * (_dense_weights(torso) + last * (1 + network.noisy) + embedding)


def _dense_weights(sizes):
    return sum((inputs + 1) * outputs for inputs, outputs in zip(sizes, sizes[1:], strict=False))


MLP = Architecture("mlp", _of_torso("mlp"), False, can_compile=True, num_weights=_mlp_weights, policy=_numpy_policy)
# Valid convolutions of 8/4, 4/2 and 3/1 leave 1 x 1 of 36 x 36.
NATURE_CNN = Architecture("nature_cnn", _of_torso("nature_cnn"), True, min_image_size=36)
IMPALA_CNN = Architecture("impala_cnn", _of_torso("impala_cnn"), True, min_image_size=8)
# Its one convolution is a product, see layers.PatchConv2D.
MINATAR_CNN = Architecture(
    "minatar_cnn", _of_torso("minatar_cnn"), False, can_compile=True, min_image_size=3, policy=_numpy_policy
)
ARCHITECTURES: Mapping[str, Architecture] = {one.name: one for one in (MLP, NATURE_CNN, IMPALA_CNN, MINATAR_CNN)}


def choose(name: str, spec: EnvironmentSpec) -> Architecture:
    """Returns the Architecture for --network=`name`.

    auto takes nature_cnn for uint8 images [H, W], [H, W, C] or [C, H, W] of at least 36 x 36, else mlp.
    Raises:
      ConfigError: it does not take these observations, or there is no such module of the user's.
    """
    if name == "auto":
        return NATURE_CNN if spec.observation_dtype == np.uint8 and NATURE_CNN.takes(spec) else MLP
    if name not in ARCHITECTURES:
        return _own(name, spec)
    found = ARCHITECTURES[name]
    if not found.takes(spec):
        raise ConfigError(
            f"--network={name} needs images of at least {found.min_image_size} x {found.min_image_size}, "
            f"this environment's observations have shape {tuple(spec.observation_shape)}; use --network=mlp."
        )
    return found


def reason(name: str, spec: EnvironmentSpec) -> str:
    """Returns why `choose` has chosen what it has."""
    if name != "auto":
        return f"--network={name}"
    seen = f"observations are {np.dtype(spec.observation_dtype)} of shape {tuple(spec.observation_shape)}"
    if choose(name, spec) is NATURE_CNN:
        return seen
    size = NATURE_CNN.min_image_size
    return f"{seen}, not uint8 images of at least {size} x {size}"


def _own(name, spec):
    """Returns the Architecture of a function of the user's, which is imported when it is built."""
    user_code.check("network", name)

    def build(spec, config):
        from dqn_tf.agent import own_network

        return own_network.build(name, spec, config)

    def check(model, spec, config):
        from dqn_tf.agent import own_network

        own_network.check(name, model, spec, config)

    return Architecture(name, build, is_convolutional=len(spec.observation_shape) > 1, check=check)

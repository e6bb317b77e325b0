"""Makes the layers of one Q-network by the settings; initial weights are a function of the seed."""

from typing import Any

import keras
import numpy as np

from dqn_tf.agent.layers import NoisyDense
from dqn_tf.config.schema import Config


class Layers:
    """Layers with the activation, normalization and dtype of the settings.

    Weights and biases start uniform in +-1/sqrt(fan in), as Torch had them in the original DQN. Each layer has a number
    of its own, by which its seed differs from others.

    Attributes:
      dtype: Keras's dtype policy of hidden layers.
    """

    def __init__(self, config: Config, critic: int = 0):
        """Prepares.

        Args:
          critic: number of the network among those of Maxmin.
        """
        self._network = config.network
        self._key = (config.run.seed,), (critic,) if critic else ()
        self.dtype = "mixed_bfloat16" if config.hardware.precision == "bfloat16" else "float32"

    def conv(
        self,
        x: Any,
        filters: int,
        size: int,
        name: str,
        number: int,
        *,
        is_activated: bool = True,
        kind: type[keras.layers.Conv2D] = keras.layers.Conv2D,
        **kwargs: Any,
    ) -> Any:
        """Returns a convolution of x [B, H, W, C]; `kwargs` are Keras's."""
        kwargs |= {**self._initializers(size * size * x.shape[-1], number), "data_format": "channels_last"}
        return self._hidden(x, lambda **how: kind(filters, size, **kwargs, **how), name, is_activated)

    def dense(self, x: Any, units: int, name: str, number: int, is_noisy: bool = False) -> Any:
        """Returns a hidden dense layer of x [B, ..., N]."""
        kind, noise = self._dense(number, is_noisy)
        how = self._initializers(x.shape[-1], number) | noise
        return self._hidden(x, lambda **more: kind(units, **how, **more), name, is_activated=True)

    def output(self, x: Any, units: int, name: str, number: int, is_noisy: bool = False) -> Any:
        """Returns a linear float32 dense layer of x [B, ..., N]."""
        kind, noise = self._dense(number, is_noisy)
        return kind(units, dtype="float32", name=name, **self._initializers(x.shape[-1], number), **noise)(x)

    def flat(self, x: Any) -> Any:
        """Returns x as [B, N]."""
        return keras.layers.Flatten(dtype=self.dtype, name="flatten")(x) if len(x.shape) > 2 else x

    def activation(self, x: Any, name: str) -> Any:
        """Returns the activation of x."""
        return keras.layers.Activation(self._network.activation, dtype=self.dtype, name=name)(x)

    def _hidden(self, x, layer, name, is_activated):
        is_normalized = self._network.normalization == "layer"
        activation = self._network.activation if is_activated and not is_normalized else None
        x = layer(activation=activation, dtype=self.dtype, name=name)(x)
        if is_normalized:
            x = keras.layers.LayerNormalization(dtype=self.dtype, name=f"{name}_norm")(x)
        return self.activation(x, f"{name}_activation") if is_normalized and is_activated else x

    def _dense(self, number, is_noisy):
        if not is_noisy:
            return keras.layers.Dense, {}
        return NoisyDense, {"sigma": self._network.noisy_sigma, "seed": self._seeds(number)[2]}

    def _initializers(self, fan_in, number):
        limit = fan_in**-0.5
        kernel_seed, bias_seed, _ = self._seeds(number)
        return {
            "kernel_initializer": keras.initializers.RandomUniform(-limit, limit, seed=kernel_seed),
            "bias_initializer": keras.initializers.RandomUniform(-limit, limit, seed=bias_seed),
        }

    def _seeds(self, number):
        (seed,), critic = self._key
        sequence = np.random.SeedSequence((seed, number, *critic))
        return [int(one) for one in sequence.generate_state(3)]

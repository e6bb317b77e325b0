"""Which additions to DQN exclude each other, each in one line."""

from collections.abc import Iterator
from typing import Any


def check(network: Any, learning: Any) -> list[str]:
    """Returns one line for each pair of settings of the sections Network and Learning that exclude each other."""
    return list(_problems(network, learning))


def _problems(network, learning):
    is_own, own_loss = ":" in network.network, ":" in learning.loss
    if network.num_critics > 1 and network.head != "expected":
        yield f"--num_critics={network.num_critics} is for --head=expected, not --head={network.head}; leave one out."
    if network.num_critics > 1 and learning.munchausen:
        yield f"--num_critics={network.num_critics} and --munchausen each have targets of their own; leave one out."
    if learning.munchausen and network.head == "categorical":
        yield "--munchausen has no meaning for --head=categorical; use another head, or leave --munchausen out."
    if network.head != "expected" and learning.loss != "huber" and not own_loss:
        yield f"--loss={learning.loss} is for --head=expected; --head={network.head} has its own loss: leave it out."
    if network.head == "categorical" and not network.v_min < network.v_max:
        yield f"--v_min={network.v_min:g} must be below --v_max={network.v_max:g}."
    if own_loss:
        given = "munchausen" if learning.munchausen else "num_critics" if network.num_critics > 1 else ""
        if given:
            yield f"--{given} changes the targets, which --loss={learning.loss} makes itself; leave one out."
    yield from _of_networks(network, is_own)


def _of_networks(network, is_own) -> Iterator[str]:
    """Yields what has no effect in a network that is the user's, or no impala_cnn."""
    if is_own:
        for name in ("dueling", "noisy", "spectral_norm", "normalize_observations"):
            if getattr(network, name):
                yield f"--{name}: --network={network.network} has its own layers; leave one of them out."
        if network.num_critics > 1:
            yield f"--num_critics={network.num_critics}: --network={network.network} is one network; leave one out."
        if network.normalization != "none":
            how = f"--normalization={network.normalization}"
            yield f"{how}: --network={network.network} has its own layers; leave one out."
        return
    if network.network != "impala_cnn":
        given = {"width": network.width > 1, "pooling": network.pooling, "spectral_norm": network.spectral_norm}
        for name in (name for name, is_given in given.items() if is_given):
            yield f"--{name} is for --network=impala_cnn, not --network={network.network}; leave it out."

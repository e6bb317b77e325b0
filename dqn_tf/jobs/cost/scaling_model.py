"""The model of docs/scaling.md: an update on one of W workers is its own work and one ring all-reduce."""

import math
from typing import NamedTuple


class Line(NamedTuple):
    """Seconds = fixed + per_unit * x: of a collective of x bytes, of a ring's step, of an update of x transitions."""

    fixed: float
    per_unit: float

    def at(self, x: float) -> float:
        return self.fixed + self.per_unit * x


class Message(NamedTuple):
    """What the workers of one network send each other in an update."""

    num_weights: int
    kernel: tuple[int, int] | None  # M, N of the largest dense layer, if its gradient may go as two factors
    flops_of_others: int  # of an update of one transition, without those of the kernel's gradient

    def is_factored(self, batch_of_all: int) -> bool:
        """Returns whether factors are sent, by the rule of dqn_tf/distribution/factors.py."""
        return self.kernel is not None and 1.5 * self._num_shared(batch_of_all) <= self.num_weights

    def num_bytes(self, batch_of_all: int, workers: int) -> int:
        """Returns the bytes that are summed: gradients or factors, and two parts of each worker's three metrics."""
        shared = self._num_shared(batch_of_all) if self.is_factored(batch_of_all) else self.num_weights
        return 4 * (shared + 6 * workers)

    def work(self, worker: Line, batch: float, batch_of_all: int) -> float:
        """Returns the seconds of a worker's update: with factors it multiplies those of the others as well."""
        product = 2 * math.prod(self.kernel) if self.is_factored(batch_of_all) else 0
        share = product / (product + self.flops_of_others) if product else 0
        return worker.at(batch) + share * worker.per_unit * (batch_of_all - batch)

    def _num_shared(self, batch_of_all):
        return self.num_weights - math.prod(self.kernel) + batch_of_all * sum(self.kernel)


# A default Atari agent of 6 actions, and CartPole's.
MESSAGES = {"Nature CNN": Message(1_687_206, (3136, 512), 34_000_000), "128-128 MLP": Message(17_410, None, 0)}


def on_network(step: Line, gigabits: float, latency_us: float) -> Line:
    """Returns a step of the loopback ring on a network: slower by its latency; CPU or wire, the slower, moves bytes."""
    return Line(step.fixed + latency_us * 1e-6, max(step.per_unit, 8 / (gigabits * 1e9)))


def ring_seconds(step: Line, workers: int, num_bytes: float) -> float:
    """Returns the seconds of 2 (W-1) steps in each of which every worker sends a W-th of the message."""
    return 2 * (workers - 1) * step.at(num_bytes / workers)

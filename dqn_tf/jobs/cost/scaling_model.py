"""The model of docs/scaling.md: an update on one of W workers is its own work and one ring all-reduce."""

import math
from typing import NamedTuple

WORKERS, GIGABITS = [2**k for k in range(1, 10)], [1, 10, 100]
SHOWN, TARGET = [32, 256], 0.9  # batches of each worker; efficiency


class Line(NamedTuple):
    """Seconds = fixed + per_unit * x: of a collective of x bytes, of a ring's step, of an update of x transitions."""

    fixed: float
    per_unit: float

    def at(self, x: float) -> float:
        """Returns the seconds at x."""
        return self.fixed + self.per_unit * x


class Message(NamedTuple):
    """What the workers of one network send each other in an update.

    Attributes:
      num_weights: of the network.
      kernel: M, N of its largest dense layer, whose gradient may go as two factors; None where it never does.
      flops_of_others: of an update of one transition, without those of the kernel's gradient.
    """

    num_weights: int
    kernel: tuple[int, int] | None
    flops_of_others: int

    def is_factored(self, batch_of_all: int) -> bool:
        """Returns whether factors are sent, by the rule of dqn_tf/distribution/factors.py."""
        return self.kernel is not None and 1.5 * self._num_shared(batch_of_all) <= self.num_weights

    def num_bytes(self, batch_of_all: int, workers: int) -> int:
        """Returns the bytes that are summed: gradients or factors, and two parts of each worker's three metrics."""
        shared = self._num_shared(batch_of_all) if self.is_factored(batch_of_all) else self.num_weights
        return 4 * (shared + 6 * workers)

    def work(self, worker: Line, batch: float, batch_of_all: int) -> float:
        """Returns the seconds of a worker's update: with factors it multiplies those of the others as well."""
        if not self.is_factored(batch_of_all):
            return worker.at(batch)
        product = 2 * self.kernel[0] * self.kernel[1]
        share = product / (product + self.flops_of_others)
        return worker.at(batch) + share * worker.per_unit * (batch_of_all - batch)

    def _num_shared(self, batch_of_all):
        rows, columns = self.kernel
        return self.num_weights - rows * columns + batch_of_all * (rows + columns)


# A default Atari agent of 6 actions, and CartPole's.
MESSAGES = {"Nature CNN": Message(1_687_206, (3136, 512), 34_000_000), "128-128 MLP": Message(17_410, None, 0)}


def fit_line(seconds: dict[float, float]) -> Line:
    """Returns the line of least squares of the relative error, of which 4 bytes have as much as 16 MiB.

    Takes x -> measured seconds, for two x at least. Neither part of the line is negative.
    """
    points = [(1 / t, x / t) for x, t in seconds.items()]  # minimise sum (fixed * u + per_unit * v - 1)^2
    uu, uv, vv = (sum(p[i] * p[j] for p in points) for i, j in ((0, 0), (0, 1), (1, 1)))
    u, v = (sum(p[i] for p in points) for i in (0, 1))
    fixed, per_unit = (a / (uu * vv - uv * uv) for a in (u * vv - v * uv, v * uu - u * uv))
    positive = fixed >= 0 and per_unit >= 0
    return Line(fixed, per_unit) if positive else Line(0.0, v / vv) if fixed < 0 else Line(u / uu, 0.0)


def ring_step(fit: Line, workers: int) -> Line:
    """Returns what a step of the ring pays, and each byte sent in it, where an all-reduce of `workers` takes `fit`."""
    steps = 2 * (workers - 1)
    return Line(fit.fixed / steps, fit.per_unit * workers / steps)


def on_network(step: Line, gigabits: float, latency_us: float) -> Line:
    """Returns a loopback ring's step on a network: its latency comes on top, the slower of CPU and wire moves bytes."""
    return Line(step.fixed + latency_us * 1e-6, max(step.per_unit, 8 / (gigabits * 1e9)))


def ring_seconds(step: Line, workers: int, num_bytes: float) -> float:
    """Returns the seconds of 2 (W-1) steps in each of which every worker sends a W-th of the message."""
    return 2 * (workers - 1) * step.at(num_bytes / workers)


def efficiency(single: Line, work: float, collective: float, batch: int, sharers: int = 1) -> float | None:
    """Returns speed-up / W: weak scaling at `batch` on each worker; strong at `batch` in all where W share it.

    Args:
      single: an update of one process alone.
      work, collective: seconds of a worker's own part of an update, and of its all-reduce.
      sharers: 1, or W for strong scaling; None comes back where they have less than one transition each.
    """
    return single.at(batch) / (sharers * (work + collective)) if batch >= sharers else None


def smallest_batch(single: Line, worker: Line, collective: float, target: float = TARGET) -> int | None:
    """Returns the fewest transitions on each worker at which weak scaling is `target` efficient; None: at no number.

    For a collective that does not depend on the batch.
    """
    gain = single.per_unit - target * worker.per_unit
    need = target * (worker.fixed + collective) - single.fixed
    return 1 if need <= gain else math.ceil(need / gain - 1e-9) if gain > 0 else None


def predict(single: Line, worker: Line, step: Line, message: Message, arguments) -> dict[int, list[float | None]]:
    """Returns W -> for each network in turn: weak efficiency at the SHOWN batches, strong, the smallest batch.

    Takes latency_us and global_batch from `arguments`.
    """
    rows = {workers: [] for workers in WORKERS}
    for workers, row in rows.items():
        for gigabits in GIGABITS:
            ring = on_network(step, gigabits, arguments.latency_us)

            def weak(batch, workers=workers, ring=ring):
                collective = ring_seconds(ring, workers, message.num_bytes(batch * workers, workers))
                return efficiency(single, message.work(worker, batch, batch * workers), collective, batch)

            row += map(weak, SHOWN)
            shared = arguments.global_batch
            work, collective = (
                message.work(worker, shared / workers, shared),
                ring_seconds(ring, workers, message.num_bytes(shared, workers)),
            )
            row.append(efficiency(single, work, collective, shared, workers))
            row.append(_first_batch(single, worker, ring, workers, message, weak))
    return rows


def _first_batch(single, worker, ring, workers, message, weak):
    """Returns the fewest transitions on each worker for TARGET: with factors, else with gradients, else None."""
    batch = 1
    while message.is_factored(batch * workers):
        if weak(batch) >= TARGET:
            return batch
        batch += 1
    found = smallest_batch(single, worker, ring_seconds(ring, workers, message.num_bytes(batch * workers, workers)))
    return None if found is None else max(found, batch)

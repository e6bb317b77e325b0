"""How long the actor and the learner waited for each other: it shows which of the two a run is held up by."""


class Utilization:
    """Sums over the rounds in which both worked."""

    def __init__(self):
        self._last = (0.0, 0.0, 0.0)  # seconds of rounds, of acting in them, of learning
        self._overall = (0.0, 0.0, 0.0)
        self._has_begun = False

    def add(self, together: float, acting: float, learning: float) -> None:
        """Counts one round.

        Args:
          together: seconds from the start of both to the end of the later one.
          acting, learning: seconds in which each of them worked.
        """
        seconds = (together, acting, learning)
        self._last = tuple(map(sum, zip(self._last, seconds, strict=True)))
        if self._has_begun:  # the first call of the update compiles
            self._overall = tuple(map(sum, zip(self._overall, seconds, strict=True)))
        self._has_begun = True

    def since_last(self) -> dict[str, float]:
        """Returns the shares of the rounds since the last call, {} if both worked in none."""
        shares, self._last = _shares(self._last), (0.0, 0.0, 0.0)
        return shares

    def overall(self) -> dict[str, float]:
        """Returns the shares of all rounds but the first, {} if there was no other."""
        return _shares(self._overall)


def _shares(seconds):
    together, acting, learning = seconds
    if not together:
        return {}
    return {
        "actor_wait_share": min(max(1 - acting / together, 0.0), 1.0),
        "learner_wait_share": min(max(1 - learning / together, 0.0), 1.0),
    }

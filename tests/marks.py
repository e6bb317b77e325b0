"""Parameters of tests that are left out unless --all, or --soak, is given."""

import pytest


def thorough(*rows):
    """Returns pytest's parameters of rows, each a value or a tuple of values, for --all."""
    return _marked(pytest.mark.thorough, rows)


def soak(*rows):
    """Does the same for --soak."""
    return _marked(pytest.mark.soak, rows)


def _marked(mark, rows):
    return [pytest.param(*(row if isinstance(row, tuple) else (row,)), marks=mark) for row in rows]

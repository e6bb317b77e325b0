"""Parameters of tests that are left out unless --all is given."""

import pytest


def thorough(*rows):
    """Returns pytest's parameters of rows, each a value or a tuple of values."""
    return [pytest.param(*(row if isinstance(row, tuple) else (row,)), marks=pytest.mark.thorough) for row in rows]

"""Versions that a result depends on."""

import platform
from importlib import metadata


def versions() -> dict[str, str]:
    """Returns the versions that a result depends on."""
    packages = ("dqn_tf", "tensorflow", "keras", "gymnasium", "numpy", "ale_py")
    return {"python": platform.python_version(), **{name: _version(name) for name in packages}}


def _version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"

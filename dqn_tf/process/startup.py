"""What a command sets for its process before NumPy, TensorFlow and the user's modules are imported.

So the result does not depend on the user's shell and home, such as another backend of Keras, a locale without umlauts,
or a folder `tests`.
"""

import contextlib
import logging
import os
import pathlib
import resource
import sys

from dqn_tf.config.schema import ConfigError

_log = logging.getLogger(__name__)

_ROOT = str(pathlib.Path(__file__).resolve().parents[2])  # of a checkout, or site-packages
_VARIABLES = {
    "TF_CPP_MIN_LOG_LEVEL": "2",  # only errors of TensorFlow
    "OPENBLAS_NUM_THREADS": "1",  # acting shares the cores with the learner
}
_OPEN_FILES = 65_536  # for pipes to hundreds of environments and workers
_KERAS = {"floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last"}


def prepare(program: str = _ROOT) -> None:
    """Sets the search path of modules, environment variables, limits and the output. A command calls it first.

    Args:
      program: directory of the file that is run.
    """
    _search_current_directory(program)
    for name, value in _VARIABLES.items():
        os.environ.setdefault(name, value)
    os.environ["KERAS_BACKEND"] = "tensorflow"  # overrides keras.json; child processes inherit it
    with contextlib.suppress(OSError, ValueError):
        allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = min(most, _OPEN_FILES) if most != resource.RLIM_INFINITY else _OPEN_FILES
        if allowed != resource.RLIM_INFINITY and allowed < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
    with contextlib.suppress(AttributeError):  # there may be no stdout
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr does: the encoding may have no umlauts


def use_utf8() -> None:
    """Restarts this command in Python's UTF-8 mode if file names are in ASCII or Latin-1, as with LC_ALL=C.

    With ASCII no file whose name has an umlaut could be opened or printed. With Latin-1 TensorFlow, which uses UTF-8
    only, would write into another directory.
    """
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def load_keras() -> None:
    """Imports TensorFlow and Keras, and resets settings that a user's keras.json may have changed.

    Raises:
      ConfigError: Keras cannot read its keras.json, or a module of the user's has started it with another backend.
    """
    path = os.path.join(os.environ.get("KERAS_HOME") or os.path.join("~", ".keras"), "keras.json")
    try:
        import keras  # which imports TensorFlow
    except (ValueError, TypeError, AttributeError, AssertionError) as error:
        if not os.path.exists(os.path.expanduser(path)):
            raise
        raise ConfigError(
            f"Keras cannot be started with {path}: {type(error).__name__}: {error}; correct or remove it."
        ) from error
    check_keras()
    for name, value in _KERAS.items():
        if (given := getattr(keras.config, name)()) != value:
            _log.warning("keras: %s=%s of keras.json is not used here, but %s", name, given, value)
            getattr(keras.config, f"set_{name}")(value)


def check_keras() -> None:
    """Raises ConfigError if Keras has been started with another backend."""
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ConfigError(
            f"a module that was imported has started Keras with the backend {keras.backend.backend()}; this program "
            "needs tensorflow: set KERAS_BACKEND=tensorflow before Keras is imported."
        )


def _search_current_directory(program):
    """Makes modules of the current directory importable, for --env=module:EnvId.

    They come after the standard library and installed packages, but before modules beside the program: a checkout has
    its own folders such as `tests`.
    """
    try:
        here = os.getcwd()
    except OSError:  # it was deleted
        return
    last = {os.path.abspath(program), *([_ROOT] if os.path.exists(os.path.join(_ROOT, "train.py")) else [])} - {here}
    paths = [os.path.abspath(path) for path in sys.path if path]
    beside = [path for path in dict.fromkeys(paths) if path in last and not _hides(path, here)]
    sys.path[:] = [path for path in paths if path not in last and path != here] + [here, *beside]


def _hides(beside, here):
    """Returns whether a package in `beside` has the name of a plain folder in `here`, which Python would take last."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(beside):
            is_package = entry.name != "dqn_tf" and os.path.exists(os.path.join(entry.path, "__init__.py"))
            if is_package and os.path.isdir(os.path.join(here, entry.name)):
                return True
    return False

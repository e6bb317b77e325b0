"""A user's own modules: found by name, and what they raise told in one line.

`module:name` in a flag takes an object of a module. What is given to the library itself, such as a function of a
notebook, has such a name too: `register` gives it one, and it is found by that in this process.
"""

import difflib
import importlib
import importlib.util
import os
import pathlib
import sys
import traceback
from collections.abc import Callable
from typing import Any, Self

from dqn_tf.config.schema import ConfigError

_NOT_OWN = ("site-packages", "<frozen", str(pathlib.Path(__file__).parents[1]), os.path.dirname(os.__file__))
_registered: dict[tuple[str, str], Any] = {}


class UserCodeFailure(Exception):
    """Code of the user's has raised; the message, one line, names it.

    Attributes:
      trace: the traceback of what it raised, "" if it raised nothing.
    """

    def __init__(self, message: str, trace: str = ""):
        super().__init__(message, trace)
        self.trace = trace

    def __str__(self) -> str:
        return self.args[0]

    @classmethod
    def of(cls, what: str, error: BaseException, where: str = "") -> Self:
        """Returns the failure for an exception of the user's code: `what`, the exception, `where` on one line."""
        own = error.__traceback__.tb_next if error.__traceback__ else None
        return cls(f"{what} {told(error)}{where}", "".join(traceback.format_exception(type(error), error, own)))


def register(flag: str, given: Any) -> str:
    """Returns the name, module:name, by which `find` gives an object back in this process.

    Objects that have no name of their own in a module, such as lambdas, are numbered: each has another name.
    """
    named = getattr(given, "func", given)  # of a functools.partial
    path = getattr(named, "__qualname__", None) or type(named).__qualname__
    module = getattr(named, "__module__", None) or "__main__"
    found = getattr(sys.modules.get(module), path, None)
    if found is given:
        return f"{module}:{path}"
    number = 1 if found is None else 2
    while _registered.setdefault((flag, name := f"{module}:{path}" + f"#{number}" * (number > 1)), given) is not given:
        number += 1
    return name


def registered(flag: str, name: str) -> Any:
    """Returns the object of that name that was given to the library, None if there is none."""
    return _registered.get((flag, name))


def find(flag: str, name: str) -> Callable:
    """Returns the object `module:name` that --`flag` names.

    Raises:
      ConfigError: there is no such module, it cannot be imported, it has no such name, or nothing that can be called.
    """
    if (given := registered(flag, name)) is not None:
        return given
    module, _, path = name.rpartition(":")
    found: Any = import_module(f"--{flag}={name}", module, path)
    for part in path.split("."):
        if not hasattr(found, part):
            nearest = difflib.get_close_matches(part, dir(found), n=1)
            hint = f"; did you mean {module}:{nearest[0]}?" if nearest else "."
            raise ConfigError(f"--{flag}={name}: {module} has no {part}{hint}")
        found = getattr(found, part)
    if not callable(found):
        raise ConfigError(f"--{flag}={name} is {line(found)[:80]}, which cannot be called; name a function or a class.")
    return found


def check(flag: str, name: str) -> None:
    """Raises ConfigError if there is no module for `module:name`. The module itself is not imported."""
    module = name.rpartition(":")[0]
    if registered(flag, name) is not None or module in sys.modules:
        return
    try:
        found = importlib.util.find_spec(module) if module_of(module) == module else None
    except (Exception, SystemExit) as error:  # of a package that it should be in
        if not (isinstance(error, ModuleNotFoundError) and module.startswith(str(error.name))):
            import_module(f"--{flag}={name}", module, name.rpartition(":")[2])
        found = None
    if found is None:
        raise ConfigError(f"--{flag}={name}: there is no module {module}{_file_hint(flag, module, name)}.")


def _file_hint(flag, module, name):
    path = module_of(module)
    return f"; name the module, not its file: --{flag}={path}:{name.rpartition(':')[2]}" if path != module else ""


def import_module(given: str, module: str, rest: str) -> Any:
    """Returns the module that a flag names. Raises ConfigError.

    Args:
      given: the flag as it was given.
      rest: what it names in the module.
    """
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:  # a module is somebody's code, and may even end the program
        reason, name = line(error), module_of(module)
        top = sys.modules.get(module.partition(".")[0])
        if isinstance(error, SystemExit):
            reason = f"{reason}; it ends the program where it is imported"
        elif name and name != module:
            reason += f"; name the module, not its file: {given.partition('=')[0]}={name}:{rest}"
        elif isinstance(error, ModuleNotFoundError) and "." in module and module.startswith(f"{error.name}") and top:
            reason += f"; {top.__name__} is {getattr(top, '__file__', None) or ', '.join(top.__path__)}"
        raise ConfigError(
            f"{given}: module {module} cannot be imported: {type(error).__name__}: {reason}{place(error)}"
        ) from error


def module_of(path: str) -> str:
    """Returns the module that a path such as pkg/games.py would be; a module's name as it is."""
    return ".".join(part for part in path.removesuffix(".py").split("/") if part.strip("."))


def failure(what: str, error: BaseException) -> UserCodeFailure:
    """Returns the failure that an exception of the user's is.

    Args:
      what: the code that raised it.
    """
    return UserCodeFailure.of(f"{what} raised", error, place(error))


def told(error: BaseException) -> str:
    """Returns what an exception says, on one line."""
    return line(f"{type(error).__name__}: {error}")


def place(error: BaseException) -> str:
    """Returns where in the user's own code an exception was raised, to be added to a line; "" if nowhere there."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not any(part in frame.filename for part in _NOT_OWN)]
    return f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""


def line(text: object) -> str:
    """Returns the text on one line."""
    return " ".join(str(text).split())

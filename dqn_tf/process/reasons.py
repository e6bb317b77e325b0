"""Returns the messages of errors for the log. Without TensorFlow."""

import re

_LONGEST = 200
# TensorFlow puts these around the message: {{function_node __wrapped__...}} {{node ...}} [Op:...] name: ...
_MARKS = re.compile(r"\{\{.*?\}\}|\[Op:\w*\]( name:.*)?$")


def lines(error: Exception) -> list[str]:
    """Returns the lines of an error's message that are not empty, without the names of TensorFlow's nodes."""
    message = getattr(error, "message", None)
    text = message if isinstance(message, str) else str(error)
    return [line for part in text.splitlines() if (line := " ".join(_MARKS.sub("", part).split()))]


def reason(error: Exception) -> str:
    """Returns the reason of an error on one line, without the name of a file."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    found = lines(error)
    return found[0][:_LONGEST] if found else type(error).__name__

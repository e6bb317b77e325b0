"""python -m dqn_tf.jobs: writes the files of a job and, with --submit, submits it. Without TensorFlow."""

import importlib
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence

from dqn_tf.config import files, flags
from dqn_tf.config.schema import ConfigError
from dqn_tf.jobs import assembly, options, targets


def main(argv: Sequence[str]) -> int:
    """Returns the exit code of a command line without its program: 0 done, 2 the user's mistake, 1 not submitted."""
    if argv and argv[0] == "estimate":
        from dqn_tf.jobs.cost import estimate

        return estimate.main(argv[1:])
    if flags.wants_help(["jobs", *argv]):
        print(options.help_text())
        return 0
    try:
        return _run(argv)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2


def _run(argv):
    if not argv or argv[0].startswith("-"):
        raise ConfigError(f"the platform comes first: {', '.join(targets.TARGETS)} or estimate; see --help.")
    platform = argv[0]
    problems = options.check_platform(platform)
    if problems:
        raise ConfigError(*problems)
    job, chosen = assembly.make(platform, argv[1:])
    files = importlib.import_module(f"dqn_tf.jobs.{platform}").files(job)
    directory = pathlib.Path(chosen.output or f"jobs/{platform}/{job.name}")
    if chosen.submit:
        _check_program(files.submit[0], targets.TARGETS[platform])
    _write(files.contents, directory)
    paths = {name: str(directory / name) for name in files.contents}
    submit = [_placed(word, paths) for word in files.submit]
    paths = {name: shlex.quote(path) for name, path in paths.items()}
    watch = [_placed(line, paths) for line in files.watch]
    for name in files.contents:
        print(f"wrote {directory / name}")
    print(f"submit:\n  {shlex.join(submit)}")
    print("\n  ".join(["watch:", *watch]))
    return _submit(submit) if chosen.submit else 0


def _placed(text, paths):
    """Returns `text` with the path of each file in place of its name."""
    any_name = "|".join(map(re.escape, paths))
    return re.sub(rf"(?<![\w.-])({any_name})(?![\w.-])", lambda match: paths[match[1]], text)


def _check_program(program, target):
    if shutil.which(program) is None:
        raise ConfigError(
            f"--submit needs {program}, which is not installed: {target.install}; without --submit the files are "
            "written only."
        )


def _write(contents, directory):
    """Writes all files, or none if one exists with other contents."""
    try:
        for name, text in contents.items():
            path = directory / name
            if path.exists() and files.read(path) != text.encode():
                raise ConfigError(
                    f"{path} exists and is another job's or was changed; give another --name or --output, or delete it."
                )
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in contents.items():
            (directory / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--output={directory} cannot be written: {error.strerror}.") from None


def _submit(words):
    sys.stdout.flush()
    try:
        code = subprocess.run(words).returncode
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        print(f"{words[0]} cannot be started: {error.strerror}.", file=sys.stderr)
        return 1
    if code:
        print(f"not submitted: {words[0]} ended with exit code {code}.", file=sys.stderr)
    return 1 if code else 0

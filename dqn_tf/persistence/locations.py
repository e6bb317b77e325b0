"""Where a run is kept: by flags, else by the platform's variables. Without TensorFlow.

The run's directory has all files. The model, TensorBoard's files and the results are also copied to the places where
the platform looks for them.
"""

import dataclasses
import logging
import os
import re
import tempfile
from collections.abc import Mapping

from dqn_tf.config import files
from dqn_tf.config.schema import ConfigError, RunSettings
from dqn_tf.persistence import run_directory

_log = logging.getLogger(__name__)

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/|(gs|s3|az):", re.IGNORECASE)
_ROOM = 256  # bytes for the longest name of a file in a run's directory
_BUCKET = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/(?!\.\.?(/|$))[^/]+)*/?")
# What to do if TensorFlow has no file system for a scheme.
_ADVICE = {
    "s3": "let SageMaker copy it: its CheckpointConfig keeps /opt/ml/checkpoints in S3; elsewhere mount the bucket "
    "(mountpoint-s3, FSx for Lustre) and give that path",
    "az": "let Azure ML mount it: an output of type uri_folder, mode rw_mount, as --logdir=${{outputs.run}}",
    "hdfs": "mount it and give that path",
}
_ADVICE |= dict.fromkeys(("azureml", "abfs", "abfss", "wasb", "wasbs"), _ADVICE["az"])
_ADVICE |= dict.fromkeys(("s3a", "s3n"), _ADVICE["s3"])


@dataclasses.dataclass(frozen=True)
class Locations:
    """Directories, or gs:// addresses, of a run.

    Attributes:
      run: all files.
      model: copy of the model; "": none. The same for the next two.
      tensorboard: copy of TensorBoard's files.
      results: copy of summary, curve and metrics, made at the end.
      is_default: neither a flag nor a variable names `run`.
      is_served_by_version: the model goes into a subdirectory "1", as SageMaker's TensorFlow Serving needs it.
      is_synced: each worker has its own `run`, which the platform copies to and from one place.
    """

    run: str
    model: str = ""
    tensorboard: str = ""
    results: str = ""
    is_default: bool = False
    is_served_by_version: bool = False
    is_synced: bool = False

    @property
    def copies(self) -> list[str]:
        """The places of copies."""
        return [place for place in (self.model, self.tensorboard, self.results) if place]

    @property
    def is_bucket(self) -> bool:
        """Whether the run is kept in an object store."""
        return is_bucket(self.run)

    @property
    def is_private(self) -> bool:
        """Whether no worker sees at once what another writes."""
        return self.is_bucket or self.is_synced


def is_bucket(place: str) -> bool:
    """Returns whether a place is an object store's address."""
    return place.startswith("gs://")


def find(run: RunSettings, environ: Mapping[str, str]) -> Locations:
    """Returns where a run is kept.

    Flags win over Vertex AI's AIP_CHECKPOINT_DIR, AIP_MODEL_DIR, AIP_TENSORBOARD_LOG_DIR and over SageMaker's
    SM_MODEL_DIR (beside which its checkpoints lie) and SM_OUTPUT_DATA_DIR.

    Args:
      environ: environment variables.
    Raises:
      ConfigError: places cannot be written, one line each.
    """
    sagemaker = environ.get("SM_MODEL_DIR", "").strip()
    model_dir = run.model_dir
    if sagemaker and model_dir.startswith("s3://"):
        _log.info("--model_dir=%s is left to SageMaker, which copies %s to S3 at the end", model_dir, sagemaker)
        model_dir = ""
    beside = os.path.join(os.path.dirname(sagemaker.rstrip("/")), "checkpoints") if sagemaker else ""
    chosen = {
        "run": _first(environ, ("--logdir", run.logdir), "AIP_CHECKPOINT_DIR", ("SageMaker", beside)),
        "model": _first(environ, ("--model_dir", model_dir), "SM_MODEL_DIR", "AIP_MODEL_DIR"),
        "tensorboard": _first(environ, ("--tensorboard_dir", run.tensorboard_dir), "AIP_TENSORBOARD_LOG_DIR"),
        "results": _first(environ, "SM_OUTPUT_DATA_DIR"),
    }
    checked = list(chosen.values())
    if is_bucket(chosen["run"][1]):
        checked.append(("TMPDIR", tempfile.gettempdir()))  # see run_directory.scratch
    problems = [problem for name, place in checked if (problem := _problem(name, place))]
    if problems:
        raise ConfigError(*problems)
    for what, (name, place) in chosen.items():
        if place and not name.startswith("--"):
            _log.info("places: %s in %s, because of %s", what, place, name)
    places = {what: place for what, (_, place) in chosen.items()}
    places["run"] = places["run"] or run_directory.default_logdir(run.env)
    return Locations(
        **places,
        is_default=not chosen["run"][1],
        is_served_by_version=chosen["model"][0] == "SM_MODEL_DIR",
        is_synced=bool(beside) and f"{places['run']}/".startswith(f"{beside}/"),
    )


def prepare(places: Locations) -> None:
    """Makes the directories of copies. Raises ConfigError: one cannot be made."""
    problems = []
    for place in places.copies:
        if not is_bucket(place):
            try:
                files.make_writable(place)
            except OSError as error:
                problems.append(f"{place} cannot be written: {error.strerror}; use another directory.")
    if problems:
        raise ConfigError(*problems)


def _first(environ, *sources):
    """Returns name and value of the first source that has a value; a source is a variable's name or such a pair."""
    for source in sources:
        name, value = (source, environ.get(source, "").strip()) if isinstance(source, str) else source
        if value:
            return name, value
    return "", ""


def _problem(name, place):
    scheme = _SCHEME.match(place)
    if scheme is None:
        return _problem_of_path(name, place)
    kind = (scheme[1] or scheme[2]).lower()
    if kind != "gs":
        advice = _ADVICE.get(kind, "use a directory or gs://BUCKET/path")
        return f"{name}={place} cannot be written by TensorFlow, which knows gs:// only; {advice}."
    if not _BUCKET.fullmatch(place) or not place.isprintable():
        return f"{name}={place} must look like gs://BUCKET/path, the bucket in small letters, digits, dashes and dots."
    return None


def _problem_of_path(name, place):
    """Returns why a directory cannot hold a run; else this would be found at the first checkpoint only."""
    try:
        files.from_user(place)
    except ValueError as allowed:
        return f"{name}={place} must be {allowed}."
    most = os.pathconf("/", "PC_PATH_MAX") - _ROOM
    if len(os.fsencode(place)) > most:
        return f"{name}={place} is too long: with the names of a run's files there may be {most} bytes of it."
    return None

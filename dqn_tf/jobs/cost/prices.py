"""Machines and what they cost: a dated file that the user may replace. Without TensorFlow."""

import dataclasses
import datetime
import difflib
import pathlib
import reprlib
from collections.abc import Sequence

from dqn_tf.config import files
from dqn_tf.config.schema import ConfigError

PLATFORMS = ("vertex", "sagemaker", "azureml", "kubernetes")
LEAST, MOST = 1e-18, 1e15  # of a file's numbers that are not 0: what is computed from them stays finite


@dataclasses.dataclass(frozen=True)
class Machine:
    """A type of machine in one region.

    Attributes:
      platform: vertex, sagemaker, azureml or kubernetes.
      name: as the platform names it.
      region: as the platform names it.
      cores: virtual CPUs.
      memory_gb: of main memory.
      gpus: most that it has; for Vertex AI's N1 machines, that it may be given.
      gpu: their kind, as the platform names it; "" for none.
      usd_per_hour: on demand, without GPUs that are paid separately.
      usd_per_hour_spot: on capacity that may be taken away; None where it is not offered, or not known.
      gpu_usd_per_hour, gpu_usd_per_hour_spot: of each GPU that is paid separately; 0 where it is in the price.
      source: where the price was read.
      date: when that was so, YYYY-MM-DD.
    """

    platform: str
    name: str
    region: str
    cores: int
    memory_gb: float
    gpus: int
    gpu: str
    usd_per_hour: float
    usd_per_hour_spot: float | None
    gpu_usd_per_hour: float
    gpu_usd_per_hour_spot: float
    source: str
    date: str


def load(path: str = "") -> list[Machine]:
    """Returns the machines of a price file, "" for the program's own. Raises ConfigError with one line."""
    said = f"--prices={path}" if path else "the program's prices.json"
    tree = read_json(path, said, "prices.json")
    entries = tree.get("machines")
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f'{said}: "machines" must be a list of at least one machine.')
    machines: dict[tuple[str, str, str], Machine] = {}
    for number, entry in enumerate(entries):
        machine = _machine(f"{said}: machines[{number}]", entry)
        key = (machine.platform, machine.name, machine.region)
        if key in machines:
            raise ConfigError(f"{said}: machines[{number}] is {' '.join(key)} for the second time; name each once.")
        machines[key] = machine
    return list(machines.values())


def read_json(path: str, said: str, own: str) -> dict:
    """Returns the JSON object in `path`, or where that is "" in the file `own` of this package.

    Raises ConfigError, which names the file as it was `said`.
    """
    file = pathlib.Path(path) if path else pathlib.Path(__file__).parent / own
    try:
        return files.read_object(file)
    except OSError as error:
        raise ConfigError(f"{said} cannot be read: {error.strerror}.") from None


def is_number(value: object, minimum: float = 0.0) -> bool:
    """Returns whether a value of a JSON file is a number from `minimum`, at least 0, to MOST; 0 or at least LEAST."""
    return type(value) in (int, float) and minimum <= value <= MOST and (value == 0 or value >= LEAST)


def shown(value: object) -> str:
    """Returns a value of a JSON file in one line that can be printed, whatever it is."""
    return value if isinstance(value, str) and value.isprintable() else reprlib.repr(value)


def _machine(where, entry):
    """Returns the Machine of an entry of the file."""
    names = [field.name for field in dataclasses.fields(Machine)]
    if not isinstance(entry, dict):
        raise ConfigError(f"{where} must be an object with {', '.join(names)}.")
    for name in names:
        if name not in entry:
            raise ConfigError(f"{where}: {name} is missing.")
    for name in entry:
        if name not in names:
            raise ConfigError(f"{where}: {shown(name)} is no field; there are {', '.join(names)}.")
    for name, value in entry.items():
        wanted = _wanted(name, value)
        if wanted:
            raise ConfigError(f"{where} ({shown(entry['name'])}): {name}={reprlib.repr(value)} must be {wanted}.")
    if bool(entry["gpus"]) != bool(entry["gpu"]):
        raise ConfigError(f"{where} ({entry['name']}): gpus={entry['gpus']} and gpu={entry['gpu']!r} contradict.")
    return Machine(**entry)


def _wanted(name, value):
    """Returns what a field must be, "" where it is."""
    if name == "platform":
        return "" if value in PLATFORMS else f"one of {', '.join(PLATFORMS)}"
    if name in ("cores", "gpus"):
        least = 1 if name == "cores" else 0
        return "" if type(value) is int and least <= value <= 9999 else f"a whole number from {least} to 9999"
    if name == "date":
        return "" if _is_date(value) else "a day, YYYY-MM-DD"
    if name in ("name", "region", "gpu", "source"):
        return "" if isinstance(value, str) and _is_text(value, name == "gpu") else "a text of one line"
    if name == "usd_per_hour_spot" and value is None or is_number(value):
        return ""
    return f"a number from 0 to {MOST:g}" + (", or null" if name == "usd_per_hour_spot" else "")


def _is_text(value, may_be_empty):
    return value.isprintable() and bool(value.strip() or may_be_empty and not value)


def _is_date(value):
    try:
        return datetime.date.fromisoformat(value).isoformat() == value
    except (TypeError, ValueError):
        return False


def select(machines: Sequence[Machine], platform: str = "", name: str = "", region: str = "") -> list[Machine]:
    """Returns the machines of a platform, type and region; "" stands for any. Raises ConfigError where none is left."""
    replaced = f"copy {pathlib.Path(__file__).with_name('prices.json')}, change the copy and give --prices=COPY"
    chosen = [machine for machine in machines if platform in ("", machine.platform)]
    if not chosen:
        known = sorted({machine.platform for machine in machines})
        raise ConfigError(f"--platform={platform} is not in the price file, which has {', '.join(known)}; {replaced}.")
    of_platform = f" for {platform}" if platform else ""
    named = [machine for machine in chosen if name in ("", machine.name)]
    if not named:
        known = sorted({machine.name for machine in chosen})
        nearest = difflib.get_close_matches(name, known, n=3, cutoff=0) if name else []
        raise ConfigError(
            f"--machine={name} is not in the price file{of_platform}; nearest: {', '.join(nearest)}; {replaced}."
        )
    found = [machine for machine in named if region in ("", machine.region)]
    if not found:
        known = sorted({machine.region for machine in named})
        what = f" for {name}" if name else of_platform
        known_regions = ", ".join(known)
        raise ConfigError(f"--region={region} is not in the price file{what}, which has {known_regions}; {replaced}.")
    return found


def find(machines: Sequence[Machine], platform: str, name: str, region: str) -> Machine:
    """Returns the one machine of a platform, type and region. Raises ConfigError where there is none."""
    found = select(machines, platform, name, region)
    if len(found) > 1:
        regions = ", ".join(sorted({machine.region for machine in found}))
        raise ConfigError(f"--region is missing: the price file has {name} in {regions}.")
    return found[0]


def cost_per_hour(machine: Machine, gpus: int, spot: bool) -> float:
    """Returns USD for an hour of a machine with `gpus`. Raises ConfigError where it has fewer, or no spot price."""
    if gpus > machine.gpus:
        kind = f" {machine.gpu}" if machine.gpu else ""
        raise ConfigError(f"--gpus={gpus} is more than the {machine.gpus}{kind} that {_placed(machine)} has.")
    if not spot:
        return machine.usd_per_hour + gpus * machine.gpu_usd_per_hour
    is_unknown = gpus and machine.gpu_usd_per_hour and not machine.gpu_usd_per_hour_spot
    if machine.usd_per_hour_spot is None or is_unknown:
        raise ConfigError(f"--spot: the price file has no spot price for {_placed(machine)}.")
    return machine.usd_per_hour_spot + gpus * machine.gpu_usd_per_hour_spot


def _placed(machine):
    return f"{machine.name} of {machine.platform} in {machine.region}"


def having(machines: Sequence[Machine], gpus: int, spot: bool) -> list[Machine]:
    """Returns those of the machines of one name that have the GPUs and the spot price. Raises where none has."""
    found, problems = [], []
    for machine in machines:
        try:
            cost_per_hour(machine, gpus, spot)
            found.append(machine)
        except ConfigError as error:
            problems += error.problems
    if not found:
        others = ", ".join(f"{machine.platform} in {machine.region}" for machine in machines[1:])
        raise ConfigError(problems[0] + (f" Nor has that of {others}." if others else ""))
    return found

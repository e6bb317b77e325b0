"""Machines and what they cost: a file of the user's, or a small sample. Without TensorFlow."""

import dataclasses
import pathlib

from dqn_tf.config import files, settings
from dqn_tf.config.schema import ConfigError, field

PLATFORMS = ("vertex", "sagemaker", "azureml", "kubernetes")
_LINE = dict(pattern=r"[ -~]*[!-~][ -~]*", words="text of one line")
_USD = dict(unit="USD", minimum=0, maximum=10**6)


@dataclasses.dataclass(frozen=True)
class Machine:
    """A type of machine in one region. Those fields whose default is empty must be given."""

    platform: str = field("", "where it is", choices=PLATFORMS)
    name: str = field("", "as the platform names it", **_LINE)
    region: str = field("", "as the platform names it", **_LINE)
    cores: int = field("", "virtual CPUs", minimum=1, maximum=9999)
    memory_gb: float = field("", "main memory", minimum=0, maximum=10**6)
    usd_per_hour: float = field("", "on demand, its GPUs included", **_USD)
    date: str = field("", "when the price was read", pattern=r"\d{4}-\d\d-\d\d", words="a day, YYYY-MM-DD")
    usd_per_hour_spot: float | None = field(None, "if it may be taken away; null: not offered, or not known", **_USD)
    gpus: int = field(0, "how many it has", minimum=0, maximum=9999)
    source: str = field("not said", "where the price was read", **_LINE)


_FIELDS = settings.of(Machine)
_REQUIRED = [name for name, setting in _FIELDS.items() if setting.field.default == ""]


def load(path: str = "") -> tuple[list[Machine], str]:
    """Returns the machines of a price file, "" for the sample, and where they are from in words. Raises ConfigError."""
    said = f"--prices={path}" if path else "the program's prices.json"
    try:
        tree = files.read_object(path or pathlib.Path(__file__).with_name("prices.json"))
    except OSError as error:
        raise ConfigError(f"{said} cannot be read: {error.strerror}.") from None
    if not isinstance(entries := tree.get("machines"), list) or not entries:
        raise ConfigError(f'{said}: "machines" must be a list of at least one machine.')
    machines = [_machine(f"{said}: machines[{number}]", entry) for number, entry in enumerate(entries)]
    dates = sorted(machine.date for machine in machines)
    sample = f"a small SAMPLE of {dates[0]} to {dates[-1]}, not live; give your own with --prices=FILE"
    return machines, sample if tree.get("sample") else path


def _machine(where, entry):
    if not isinstance(entry, dict) or not set(_REQUIRED) <= entry.keys() <= _FIELDS.keys():
        raise ConfigError(f"{where} must have {', '.join(_REQUIRED)}, and nothing but {', '.join(_FIELDS)}.")
    values, problems = settings.parse_all(entry, _FIELDS)
    if problems:
        raise ConfigError(*(f"{where}: {line}" for line in problems))
    return Machine(**values)

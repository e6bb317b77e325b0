"""The image: its pins, what it is made of, and its steps run in a clean directory, where no engine is needed."""

import configparser
import json
import os
import pathlib
import re
import shutil
import string
import subprocess
import sys
from typing import NamedTuple

import pytest
from packaging import requirements, utils, version

from tests import runs

DOCKERFILE = runs.ROOT / "deploy" / "Dockerfile"
CONSTRAINTS = runs.ROOT / "deploy" / "constraints.txt"
EXTRAS = ("atari", "vertex", "sagemaker")  # what the image may be built with


class Step(NamedTuple):
    """One instruction of a Dockerfile."""

    stage: str
    kind: str
    text: str

    def words(self):
        """Returns the arguments without options, of either form."""
        if self.text.startswith("["):
            return json.loads(self.text)
        return [word for word in self.text.split() if not word.startswith("--")]


def steps():
    """Returns the instructions of the Dockerfile, comments and continuations resolved."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found, stage = [], ""
    for line in re.sub(r"\\\n", "", text).splitlines():
        if line.strip():
            kind, _, rest = line.partition(" ")
            if kind == "FROM":
                stage = rest.partition(" AS ")[2] or "image"
            found.append(Step(stage, kind, rest.strip()))
    return found


def of(kind, stage=None):
    return [step for step in steps() if step.kind == kind and stage in (None, step.stage)]


def argument(name):
    """Returns the default of a build argument."""
    return dict(step.text.split("=", 1) for step in of("ARG"))[name]


def pins():
    """Returns the version of each pinned distribution."""
    lines = [line for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return {utils.canonicalize_name(name): version.Version(text) for name, text in (line.split("==") for line in lines)}


def required():
    """Returns what setup.cfg asks of an environment with everything an image may have."""
    setup = configparser.ConfigParser()
    setup.read(runs.ROOT / "setup.cfg")
    extras = setup["options.extras_require"]
    blocks = [setup["options"]["install_requires"], *(extras.get(name, "") for name in EXTRAS)]
    return [requirements.Requirement(line) for block in blocks for line in block.split("\n") if line]


def context(root):
    """Returns the files under `root` that .dockerignore leaves to the build, as posix paths."""
    lines = (runs.ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    files = [path.relative_to(root) for path in sorted(root.rglob("*")) if path.is_file()]
    return [path.as_posix() for path in files if not _is_ignored(path, patterns)]


def _is_ignored(path, patterns):
    """The last pattern decides that matches a file or a directory above it."""
    ignored = False
    for pattern in patterns:
        expression = re.escape(pattern.lstrip("!")).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        if any(re.fullmatch(expression, part.as_posix()) for part in [path, *path.parents][:-1]):
            ignored = not pattern.startswith("!")
    return ignored


def test_dockerfile_passes_hadolint_with_no_rule_left_out(tmp_path):
    program = shutil.which("hadolint", path=f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("hadolint is not installed; pip install -e '.[cloud]' brings it")
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}  # and no settings of somebody's own
    command = [program, "--failure-threshold", "style", str(DOCKERFILE)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "hadolint ignore" not in DOCKERFILE.read_text(encoding="utf-8")


def test_dockerfile_pins_its_base_images():
    assert re.fullmatch(r"3\.11\.\d+", argument("PYTHON"))
    bases = [step.text.split()[0] for step in of("FROM")]
    assert bases == ["python:${PYTHON}-bookworm", "packages", "python:${PYTHON}-slim-bookworm"]


def test_dockerfile_pins_its_apt_packages():
    lists = re.findall(r"apt-get install (.*?)&&", DOCKERFILE.read_text(encoding="utf-8").replace("\\\n", ""))
    packages = [word for text in lists for word in text.split() if not word.startswith("--")]
    assert packages
    assert all(re.fullmatch(r"[a-z0-9.+-]+=\d[\w.:+~-]*\*?", package) for package in packages)


def test_dockerfile_installs_nothing_that_is_not_pinned():
    installs = re.findall(r"pip install ([^&\n]*)", DOCKERFILE.read_text(encoding="utf-8").split("\nFROM", 1)[1])
    assert len(installs) == 3
    for options in installs:
        assert "--constraint constraints.txt" in options or "--no-deps --no-index" in options
        assert "--no-cache-dir" in options


def test_dockerfile_ends_with_a_user_that_is_not_root():
    assert of("USER")[-1].text == "${USER_ID}"
    assert int(argument("USER_ID")) >= 1000


def test_dockerfile_starts_train_without_a_shell():
    (entry,) = of("ENTRYPOINT")
    assert json.loads(entry.text) == ["tini", "--", "python", "/app/start.py"]
    assert not of("CMD")


def test_dockerfile_copies_the_program_after_its_packages():
    kinds = [(step.stage, step.kind, step.text) for step in steps()]
    install = next(i for i, (_, _, text) in enumerate(kinds) if "--constraint" in text)
    before = " ".join(text for _, kind, text in kinds[:install] if kind == "COPY").split()
    assert set(before) == {"deploy/constraints.txt", "setup.cfg", "pyproject.toml", "./"}
    image = [text for stage, kind, text in kinds if stage == "image" and kind in ("COPY", "RUN")]
    assert image[0].startswith("apt-get") and image[1] == "--from=packages /venv /venv"


def test_constraints_pin_what_setup_cfg_asks_for():
    pinned = pins()
    for requirement in required():
        name = utils.canonicalize_name(requirement.name)
        assert name in pinned, f"deploy/constraints.txt does not pin {name}"
        assert requirement.specifier.contains(pinned[name], prereleases=True), f"{requirement} is not {pinned[name]}"


def test_constraints_pin_each_distribution_once():
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    names = [utils.canonicalize_name(line.split("==")[0]) for line in lines if not line.startswith("#")]
    assert len(names) == len(set(names))
    assert names.count("tensorflow") == 1


def test_context_of_the_build_has_the_whole_program_and_nothing_else():
    files = [path for path in (runs.ROOT / "dqn_tf").rglob("*") if path.is_file()]
    package = [path for path in files if path.parent.name != "__pycache__"]
    others = "LICENSE README.md deploy/constraints.txt deploy/start.py pyproject.toml setup.cfg train.py".split()
    expected = {path.relative_to(runs.ROOT).as_posix() for path in package} | set(others)
    assert set(context(runs.ROOT)) == expected


def test_context_of_the_build_leaves_out_runs_and_what_is_private(tmp_path):
    private = ".git/config runs/x/model.keras tests/t.py .env key.json deploy/key.json dqn_tf/b/__pycache__/c.pyc"
    for name in ["dqn_tf/a.py", *private.split()]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert context(tmp_path) == ["dqn_tf/a.py"]


def test_dockerfile_copies_only_what_the_context_has():
    files = context(runs.ROOT)
    for step in of("COPY"):
        if "--from=" not in step.text:
            for source in step.words()[:-1]:
                assert any(f"{file}/".startswith(f"{source}/") for file in files), source


class Image:
    """Runs the steps of the Dockerfile under `root`, which stands for / of all stages. Those of apt are left out."""

    def __init__(self, root, **arguments):
        self.root = root
        self._arguments = arguments
        self._variables = {}
        self._directory = root
        self._context = root / "context"
        for name in context(runs.ROOT):
            (self._context / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(runs.ROOT / name, self._context / name)

    def build(self):
        """Runs all steps, in order."""
        for step in steps():
            getattr(self, f"_{step.kind.lower()}")(step)

    def start(self, *argv):
        """Returns the CompletedProcess of the entry point with these arguments."""
        words = json.loads(of("ENTRYPOINT")[0].text)
        command = [self._here(word) for word in words[words.index("--") + 1 :]]
        return self._execute([*command, *argv])

    def freeze(self):
        """Returns what is installed, the project too, by name."""
        listed = self._execute(["python", "-m", "pip", "list", "--format=json"])
        return {utils.canonicalize_name(row["name"]): row["version"] for row in json.loads(listed.stdout)}

    def _from(self, step):
        pass

    def _user(self, step):
        pass

    def _entrypoint(self, step):
        pass

    def _arg(self, step):
        name, _, default = step.text.partition("=")
        self._variables[name] = self._arguments.get(name, default)

    def _env(self, step):
        for name, value in re.findall(r"(\w+)=(\S+)", step.text):
            known = {"PATH": os.environ["PATH"], **self._variables}
            self._variables[name] = self._here(string.Template(value).substitute(known))

    def _workdir(self, step):
        self._directory = pathlib.Path(self._here(step.text))
        self._directory.mkdir(parents=True, exist_ok=True)

    def _copy(self, step):
        *sources, target = step.words()
        origin, destination = self._context, self._directory / self._here(target)
        if "--from=" in step.text:  # one directory for all stages
            assert sources == [target]
            return
        for source in sources:
            if (origin / source).is_dir():
                shutil.copytree(origin / source, destination, dirs_exist_ok=True)
            else:
                destination.mkdir(parents=True, exist_ok=True)
                shutil.copy2(origin / source, destination)

    def _run(self, step):
        if "apt-get" not in step.text:
            done = self._execute(["sh", "-c", self._here(step.text)])
            assert done.returncode == 0, f"{step.text}\n{done.stdout}{done.stderr}"

    def _here(self, text):
        """Returns text with absolute paths of the image as those under `root`."""
        return re.sub(r"(?<![\w.$}/])/(?=(venv|build|program|work|app)\b)", f"{self.root}/", text)

    def _execute(self, command):
        unwanted = ("PYTHONPATH", "VIRTUAL_ENV", "TF_CONFIG")
        inherited = {name: value for name, value in os.environ.items() if name not in unwanted}
        environment = {**inherited, "CUDA_VISIBLE_DEVICES": "-1", **self._variables}
        program = shutil.which(command[0], path=environment["PATH"])
        return subprocess.run(
            [program, *command[1:]], cwd=self._directory, env=environment, capture_output=True, text=True, timeout=540
        )


def build(root, **arguments):
    """Returns an Image built under `root`, by the Python that the tests have; skips where that is not the image's."""
    wanted = argument("PYTHON").rpartition(".")[0]
    if sys.platform != "linux" or wanted != f"{sys.version_info.major}.{sys.version_info.minor}":
        pytest.skip(f"the image has Python {wanted} on Linux")
    probe = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", str(root / "probe"), "six"]
    if subprocess.run(probe, capture_output=True, timeout=120).returncode:
        pytest.skip("no package index can be reached")
    image = Image(root, **arguments)
    image.build()
    return image


def check_trains(image):
    installed = image.freeze()
    assert installed.pop("dqn-tf")
    assert installed.pop("pip")
    assert {name: version.Version(text) for name, text in installed.items()}.items() <= pins().items()
    asked = image.start("--help")
    assert asked.returncode == 0 and "--train_env_steps" in asked.stdout, asked.stderr
    trained = image.start(*runs.SMALL)
    assert trained.returncode == 0, trained.stderr
    (summary,) = (image.root / "work" / "runs").rglob("summary.json")
    assert runs.read_json(summary)


@pytest.fixture
def root(tmp_path):
    """Returns a directory that is gone after the test: two gigabytes."""
    yield tmp_path / "root"
    shutil.rmtree(tmp_path)


@pytest.mark.thorough
def test_steps_of_the_dockerfile_in_a_clean_directory_make_a_program_that_trains(root):
    check_trains(build(root))


@pytest.mark.soak
def test_steps_of_the_dockerfile_with_all_extras_make_a_program_that_trains(root):
    check_trains(build(root, EXTRAS=",".join(EXTRAS)))


def test_dockerfile_with_an_unknown_device_is_refused(tmp_path):
    step = next(step for step in of("RUN") if "DEVICE" in step.text)
    environment = {"DEVICE": "tpu", "PATH": os.environ["PATH"]}
    done = subprocess.run(["sh", "-c", step.text], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "DEVICE=tpu must be cpu or cuda\n")

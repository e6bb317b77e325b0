"""The rules of the house, read from the sources: imports, what stays without TensorFlow, documentation."""

import ast
import configparser
import importlib.metadata
import json
import pathlib
import re
import subprocess
import sys

import pytest

from dqn_tf.config import settings
from dqn_tf.evaluation import __main__ as evaluation
from dqn_tf.jobs import options as job_options
from dqn_tf.jobs.cost import estimate

ROOT = pathlib.Path(__file__).parents[1]
PROGRAM = sorted([*(ROOT / "dqn_tf").rglob("*.py"), ROOT / "train.py"])

# Who may import whom. A package's own modules may always import each other; config imports nobody.
MAY_IMPORT = {
    "config": set(),
    "lifeline": set(),
    "console": {"config"},
    "files": set(),
    "signals": set(),
    "startup": {"config", "console"},
    "settings": {"config", "files"},
    "presets": {"config"},
    "flags": {"config", "files", "settings", "presets"},
    "cluster": {"config", "console", "files", "lifeline", "signals", "startup", "settings", "flags", "environment"},
    "environment": {"config", "console", "lifeline", "signals"},
    "experience": {"config"},
    "agent": {"config", "cluster", "environment", "experience"},
    "training": {
        *("config", "console", "files", "signals", "startup", "settings"),
        *("agent", "cluster", "environment", "experience"),
    },
    "cli": {"config", "console", "startup", "flags", "cluster", "training"},
    "__main__": {"cli"},
    "train": {"cli"},
}
# Where a whole package would be too much: the modules of others that may import from it.
MAY_IMPORT_FROM = {
    ("cluster", "startup"): {"dqn_tf.jobs.__main__"},
    ("cluster", "settings"): {"dqn_tf.jobs.assembly"},
    ("cluster", "flags"): {f"dqn_tf.jobs.{name}" for name in ("assembly", "command", "estimate")},
    ("cluster", "environment"): {"dqn_tf.jobs.assembly"},
    ("agent", "cluster"): {f"dqn_tf.agent.{name}" for name in ("averaging", "gradients", "learner", "optimizers")},
    ("agent", "environment"): {"dqn_tf.agent.actor"},
    ("agent", "experience"): {"dqn_tf.agent.actor"},
}
# A mistake of the user's is answered before TensorFlow is imported, which takes seconds.
WITHOUT_TENSORFLOW = """
config settings presets flags console files lifeline signals startup
cluster.clock cluster.deadline cluster.topology cluster.gpus cluster.proxies cluster.launch
cluster.rendezvous cluster.scaling_model cluster.jobs.command cluster.jobs.estimate
cluster.jobs.vertex cluster.jobs.sagemaker cluster.jobs.azureml cluster.jobs.kubernetes cluster.jobs.tfjob
cluster.jobs.slurm
environment.spec environment.instance environment.pool environment.vector environment.probe environment.atari
environment.factory
experience.accumulator experience.replay experience.frames
agent.architecture
training.plan training.rundir training.seeding training.hardware training.threads training.waits
training.places training.video training.memory
"""


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(tree):
    """Returns the modules that a syntax tree imports, and for `from a import b` also a.b."""
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            modules |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


def dotted(node):
    """Returns the names of an attribute such as tf.distribute.Strategy, [] where it hangs on no name."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *reversed(names)] if isinstance(node, ast.Name) else []


SOURCES = {module_name(path): ast.parse(path.read_text(encoding="utf-8")) for path in PROGRAM}
ALL_MODULES = pytest.mark.parametrize("module", SOURCES)


def unit(module):
    """Returns the row of the table that a module falls under."""
    parts = module.split(".")
    return parts[1] if parts[0] == "dqn_tf" and len(parts) > 1 else parts[0]


def test_units_of_the_program_are_those_of_the_table():
    assert {unit(module) for module in SOURCES} - {"dqn_tf"} == set(MAY_IMPORT)


@ALL_MODULES
def test_imports_go_one_way(module):
    mine = unit(module)
    imported = {name for name in imports(SOURCES[module]) if name in SOURCES and name != "dqn_tf"}
    others = {name for name in imported if unit(name) != mine}
    assert {unit(name) for name in others} <= MAY_IMPORT.get(mine, set())
    for (importer, package), modules in MAY_IMPORT_FROM.items():
        if mine == importer and any(unit(name) == package for name in others):
            assert module in modules


def test_imports_of_the_table_have_no_cycle():
    left = {name: set(imported) for name, imported in MAY_IMPORT.items()}
    while left:
        free = {name for name, imported in left.items() if not imported & set(left)}
        assert free
        left = {name: imported for name, imported in left.items() if name not in free}


@ALL_MODULES
def test_imports_of_modules_of_one_package_have_no_cycle(module):
    seen, waiting = set(), [module]
    while waiting:
        for name in imports(SOURCES[waiting.pop()]) & set(SOURCES) - seen:
            assert name != module
            seen.add(name)
            waiting.append(name)


def test_tensorflow_is_not_imported_where_mistakes_are_found():
    modules = [f"dqn_tf.{name}" for name in WITHOUT_TENSORFLOW.split()]
    script = "import importlib, json, sys\n" + "\n".join(
        f"importlib.import_module({name!r}); print(json.dumps([{name!r}, sorted(set(sys.modules) & "
        "{'tensorflow', 'keras', 'matplotlib', 'tensorboard'})]))"
        for name in modules
    )
    process = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    assert [json.loads(line) for line in process.stdout.splitlines()] == [[name, []] for name in modules]


@ALL_MODULES
def test_tf_distribute_is_named_only_in_cluster_strategy(module):
    tree = SOURCES[module]
    names = {".".join(dotted(node)[:2]) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    says = {"tf.distribute", "tensorflow.distribute"} & names
    says |= {name for name in imports(tree) if "distribute" in name.split(".")}
    assert bool(says) == (module == "dqn_tf.distribution.strategy")


@ALL_MODULES
def test_pickle_is_not_used(module):
    tree = SOURCES[module]
    assert not {name.split(".")[0] for name in imports(tree)} & {"pickle", "cPickle", "dill", "cloudpickle", "shelve"}
    for node in ast.walk(tree):
        for keyword in node.keywords if isinstance(node, ast.Call) else ():
            is_true = getattr(keyword.value, "value", None) is True
            assert not (keyword.arg == "allow_pickle" and is_true)
            assert not (keyword.arg == "safe_mode" and not is_true)


@pytest.mark.parametrize("path", PROGRAM, ids=module_name)
def test_files_have_at_most_300_lines_of_120_columns(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    table = 9 * len(settings.SETTINGS)  # config.py is one, a row for each flag
    assert len(lines) <= (table if path.name == "config.py" else 300)
    assert max(map(len, lines)) <= 120


def undocumented(body, owner, inherited):
    """Yields public names without a docstring. Methods of one or two statements may leave it to their name."""
    for node in body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_"):
            continue
        is_plain = owner and isinstance(node, ast.FunctionDef) and (len(node.body) <= 2 or node.name in inherited)
        if ast.get_docstring(node) is None and not is_plain:
            yield f"{owner}{node.name}"
        if isinstance(node, ast.ClassDef):
            yield from undocumented(node.body, f"{node.name}.", inherited)


def methods_of_protocols(module):
    """Returns the names of the methods of all protocols that a module has or imports."""
    trees = [SOURCES[name] for name in {module, *imports(SOURCES[module])} & set(SOURCES)]
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    protocols = [node for node in classes if "Protocol" in [getattr(base, "id", "") for base in node.bases]]
    return {method.name for node in protocols for method in node.body if isinstance(method, ast.FunctionDef)}


@ALL_MODULES
def test_public_functions_and_classes_have_docstrings(module):
    tree = SOURCES[module]
    assert ast.get_docstring(tree)
    assert list(undocumented(tree.body, "", methods_of_protocols(module))) == []


def declared():
    """Returns the distributions that setup.cfg declares, all extras included."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = [line for lines in setup["options.extras_require"].values() for line in lines.split("\n")]
    lines = [line for line in [*setup["options"]["install_requires"].split("\n"), *extras] if line]
    return {normalized(re.match("[A-Za-z0-9._-]+", line)[0]) for line in lines}


def normalized(distribution):
    """Returns the one spelling of a distribution's name, which knows no case and takes _ . and - for the same."""
    return re.sub("[-_.]+", "-", distribution).lower()


def third_party(tree):
    roots = {name.split(".")[0] for name in imports(tree)}
    return {root for root in roots if root not in sys.stdlib_module_names and root not in ("dqn_tf", "tests")}


def distributions(roots):
    names = importlib.metadata.packages_distributions()
    return {normalized(distribution) for root in roots for distribution in names[root]}


@ALL_MODULES
def test_dependencies_that_are_imported_are_declared(module):
    assert distributions(third_party(SOURCES[module])) <= declared()


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=module_name)
def test_dependencies_of_the_tests_are_declared(path):
    assert distributions(third_party(ast.parse(path.read_text(encoding="utf-8")))) <= declared()


def test_dependencies_have_a_lower_bound_and_no_pin():
    setup = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    section = setup.split("install_requires =\n")[1].split("\n\n")[0]
    for line in section.splitlines():
        assert re.fullmatch(r"    [A-Za-z0-9_-]+ >= [0-9.]+", line), line


DOCUMENTS = [ROOT / "README.md", ROOT / "tf_config" / "README.md", ROOT / "deploy" / "README.md"]
DOCUMENTS += sorted((ROOT / "docs").rglob("*.md"))
# Options of programs that are not of this project: pip, pytest, TensorBoard, git, srun, docker, the clouds' own.
OTHERS_OPTIONS = set(
    """
    --soak --kills --upgrade --no-deps --signal --mem --durations --bind_all --host --port --distribution
    --build-arg --tag --display-name --filter --sort-by --limit --format --cli-input-json --training-job-name
    --log-stream-name-prefix --file --defaults --output-name --filename --follow --tail --selector --for --timeout
    --retry --flags-file --pty
    """.split()
)


def own_options():
    texts = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks").glob("*.py"))
    tables = (job_options.OPTIONS, estimate._OPTIONS, evaluation._OPTIONS, settings.SETTINGS)
    known = {name: setting for table in tables for name, setting in table.items()}
    booleans = {f"--no{name}" for name, setting in known.items() if setting.field.type is bool}
    options = set(re.findall(r'add_argument\(\s*"(--\w+)"', texts))
    return options | booleans | {f"--{name}" for name in known} | {"--help"}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_flags_in_the_documents_exist(path):
    named = set(re.findall(r"(?<![\w-])--\w[\w-]*", path.read_text(encoding="utf-8")))
    assert named - own_options() - OTHERS_OPTIONS == set()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_the_documents_exist(path):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8"))
    local = [link for link in links if not link.startswith(("http://", "https://"))]
    assert [link for link in local if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("command", ["pip install -e . && python train.py", "pip install -e '.[test]' && pytest"])
def test_readme_has_each_command_on_a_line_of_its_own(command):
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert f"    {command}" in lines


def test_ci_calls_the_test_command_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    pattern = re.search(r"sed -n 's/(.*)/\\1/p' README\.md", script)[1]
    pattern = pattern.replace(r"\(", "(").replace(r"\)", ")")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    found = [match[1] for line in readme.splitlines() if (match := re.match(pattern, line))]
    assert found == ["pip install -e '.[test]' && pytest"]


def test_pyproject_holds_the_build_system_only():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.findall(r"^\[.*\]$", text, re.MULTILINE) == ["[build-system]"]

"""The rules of the house, read from the sources: imports, what stays without TensorFlow, documentation."""

import ast
import collections
import configparser
import functools
import importlib.metadata
import json
import pathlib
import re
import subprocess
import sys

import pytest

from dqn_tf.benchmark import __main__ as benchmark
from dqn_tf.config import settings
from dqn_tf.evaluation import __main__ as evaluation
from dqn_tf.jobs import options as job_options
from dqn_tf.jobs.cost import estimate
from dqn_tf.sweep import __main__ as sweep

ROOT = pathlib.Path(__file__).parents[1]
PROGRAM = sorted([*(ROOT / "dqn_tf").rglob("*.py"), ROOT / "train.py"])

# Who may import whom: cli and library -> training -> evaluation -> reporting -> persistence -> agent -> distribution ->
# cluster; these and the environment -> process -> config. A package's own modules may always import each other.
BELOW = {
    "config": [],
    "process": ["config"],
    "environment": ["process", "config"],
    "experience": ["environment", "config"],
    "cluster": ["process", "config"],
    "distribution": ["cluster", "experience", "process", "config"],
    "agent": ["distribution", "environment", "experience", "config"],
    "persistence": ["agent", "distribution", "cluster", "environment", "experience", "process", "config"],
    "reporting": ["persistence", "process", "config"],
    "evaluation": ["reporting", "persistence", "agent", "cluster", "environment", "process", "config"],
    "training": [
        *("evaluation", "reporting", "persistence", "agent", "distribution", "cluster", "environment", "experience"),
        *("process", "config"),
    ],
    "jobs": ["cluster", "environment", "process", "config"],
    "benchmark": ["training", "reporting", "persistence", "process", "config"],
    "sweep": ["benchmark", "reporting", "persistence", "process", "config"],
    "library": ["training", "evaluation", "reporting", "persistence", "process", "config"],
    "cli": ["training", "persistence", "cluster", "process", "config"],
    "__main__": ["cli"],
    "train": ["cli"],
}
# A mistake of the user's is answered before TensorFlow is imported, which takes seconds.
WITHOUT_TENSORFLOW = """
config.schema config.settings config.flags config.presets config.files config.seeding config.user_code
process.console process.startup process.signals process.lifeline process.stopping process.hardware process.reasons
cluster.clock cluster.deadline cluster.topology cluster.membership cluster.platforms process.gpus cluster.proxies
cluster.launcher cluster.rendezvous cluster.watchdog
environment.spec environment.maker environment.instance environment.pool environment.vector environment.probe
environment.atari environment.factory
experience.accumulator experience.sum_tree experience.sampling experience.replay experience.frames
experience.frame_replay
agent.architecture
persistence.run_directory persistence.locations persistence.manifest persistence.archive persistence.rows
evaluation.finished_run evaluation.followed_run evaluation.evaluator evaluation.video evaluation.__main__
training.plan training.threads training.memory
jobs.__main__ jobs.vertex jobs.sagemaker jobs.azureml jobs.kubernetes jobs.tfjob jobs.slurm
jobs.cost.estimate jobs.cost.scaling_model
benchmark.__main__ benchmark.commands benchmark.child benchmark.comparison benchmark.meter benchmark.aggregates
sweep.__main__ sweep.search_space sweep.study
cli library
"""


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@functools.cache
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


def unit(module):
    """Returns the row of the table that a module falls under."""
    parts = module.split(".")
    return parts[1] if parts[0] == "dqn_tf" and len(parts) > 1 else parts[0]


def offences(find):
    """Returns what `find`, a function of a module's name and its syntax tree, finds, by module."""
    found = {module: list(find(module, tree)) for module, tree in SOURCES.items()}
    return {module: what for module, what in found.items() if what}


def test_units_of_the_program_are_those_of_the_table():
    assert {unit(module) for module in SOURCES} - {"dqn_tf"} == set(BELOW)


def test_imports_go_one_way():
    def wrong(module, tree):
        if module == "dqn_tf":  # names what the library is, for others
            return set()
        others = {name for name in imports(tree) & set(SOURCES) if unit(name) != unit(module)} - {"dqn_tf"}
        return {name for name in others if unit(name) not in BELOW[unit(module)]}

    assert offences(wrong) == {}


def test_imports_of_the_table_have_no_cycle():
    order = list(BELOW)
    assert all(order.index(lower) < order.index(name) for name, below in BELOW.items() for lower in below)


def test_imports_have_no_cycle():
    def reached(module, tree):
        seen, waiting = set(), [module]
        while waiting:
            found = (imports(SOURCES[waiting.pop()]) & set(SOURCES)) - seen - {"dqn_tf"}
            seen |= found
            waiting += found
        return {module} & seen

    assert offences(reached) == {}


def test_names_of_modules_and_of_public_classes_are_of_one_thing_each():
    def classes(tree):
        return [node.name for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]

    modules = [module.rpartition(".")[2] for module in SOURCES if not module.endswith("__main__")]
    names = [name for tree in SOURCES.values() for name in classes(tree)]
    for given in (modules, names):
        assert sorted(name for name, count in collections.Counter(given).items() if count > 1) == []


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


def test_tf_distribute_is_named_only_in_the_strategy():
    def says(module, tree):
        names = {".".join(dotted(node)[:2]) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        imported = {name for name in imports(tree) if "distribute" in name.split(".")}
        return {"tf.distribute", "tensorflow.distribute"} & names | imported

    assert list(offences(says)) == ["dqn_tf.distribution.strategy"]


def test_pickle_is_not_used():
    def uses(module, tree):
        kinds = {"pickle", "cPickle", "dill", "cloudpickle", "shelve"}
        yield from {name.split(".")[0] for name in imports(tree)} & kinds
        for node in ast.walk(tree):
            for keyword in node.keywords if isinstance(node, ast.Call) else ():
                is_true = getattr(keyword.value, "value", None) is True
                if keyword.arg == "allow_pickle" and is_true or keyword.arg == "safe_mode" and not is_true:
                    yield keyword.arg

    assert offences(uses) == {}


def test_files_have_at_most_300_lines_of_120_columns():
    for path in PROGRAM:
        lines = path.read_text(encoding="utf-8").splitlines()
        table = 10 * len(settings.SETTINGS)  # schema.py is one, a row for each flag
        assert len(lines) <= (table if path.name == "schema.py" else 300), path
        assert max(map(len, lines), default=0) <= 120, path


KERAS_METHODS = ("build", "call", "compute_output_shape", "get_config")  # of layers


def undocumented(body, owner, inherited):
    """Yields public names without a docstring. Methods of one or two statements may leave it to their name."""
    for node in body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_"):
            continue
        is_known = node.name in inherited or node.name in KERAS_METHODS
        is_plain = owner and isinstance(node, ast.FunctionDef) and (len(node.body) <= 2 or is_known)
        if ast.get_docstring(node) is None and not is_plain:
            yield f"{owner}{node.name}"
        if isinstance(node, ast.ClassDef):
            yield from undocumented(node.body, f"{node.name}.", inherited)


def inherited_methods(module):
    """Returns the names of the methods of the protocols and base classes that a module has or imports."""
    trees = [SOURCES[name] for name in {module, *imports(SOURCES[module])} & set(SOURCES)]
    trees += [SOURCES[name] for tree in trees for name in imports(tree) & set(SOURCES)]
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    bases = {node.name: {getattr(base, "id", "") for base in node.bases} for node in classes}
    used = set().union(*bases.values())
    described = [node for node in classes if node.name in used or "Protocol" in bases[node.name]]
    return {method.name for node in described for method in node.body if isinstance(method, ast.FunctionDef)}


def test_public_functions_and_classes_have_docstrings():
    def missing(module, tree):
        yield from [] if ast.get_docstring(tree) else ["module"]
        yield from undocumented(tree.body, "", inherited_methods(module))

    assert offences(missing) == {}


def unannotated(body, owner=""):
    """Yields public functions, and what makes and calls a public class, that lack an annotation."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from unannotated(node.body, f"{node.name}.")
        elif isinstance(node, ast.FunctionDef) and (not node.name.startswith("_") or node.name == "__call__"):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            is_static = any(getattr(decorator, "id", "") == "staticmethod" for decorator in node.decorator_list)
            arguments = arguments[1:] if owner and not is_static else arguments
            if node.returns is None or any(one.annotation is None for one in arguments):
                yield f"{owner}{node.name}"
        elif isinstance(node, ast.FunctionDef) and node.name == "__init__":
            yield from (f"{owner}__init__: {one.arg}" for one in node.args.args[1:] if one.annotation is None)


def test_public_functions_have_annotations():
    assert offences(lambda module, tree: unannotated(tree.body)) == {}


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
    """Returns the distributions of modules, as far as they are installed: all of them are with the extra [cloud]."""
    names = importlib.metadata.packages_distributions()
    return {normalized(distribution) for root in roots for distribution in names.get(root, ())}


def test_dependencies_that_are_imported_are_declared():
    paths = [*PROGRAM, *(ROOT / "tests").rglob("*.py")]
    roots = set().union(*(third_party(ast.parse(path.read_text(encoding="utf-8"))) for path in paths))
    assert distributions(roots) <= declared()


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
    --all --soak --kills --upgrade --no-deps --signal --mem --durations --bind_all --host --port --distribution
    --build-arg --tag --display-name --filter --sort-by --limit --format --cli-input-json --training-job-name
    --log-stream-name-prefix --file --defaults --output-name --filename --follow --tail --selector --for --timeout
    --retry --flags-file --pty --xla_gpu_deterministic_ops --tf_xla_persistent_cache_directory
    --tf_xla_persistent_cache_device_types
    """.split()
)


def own_options():
    texts = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks").glob("*.py"))
    tables = (job_options.OPTIONS, estimate._OPTIONS, settings.SETTINGS)
    tables += tuple(command._OPTIONS for command in (evaluation, benchmark, sweep))
    known = {name: setting for table in tables for name, setting in table.items()}
    booleans = {f"--no{name}" for name, setting in known.items() if setting.field.type is bool}
    options = set(re.findall(r'add_argument\(\s*"(--\w+)"', texts))
    return options | booleans | {f"--{name}" for name in known} | {"--help", "--setting", "--search"}


def test_flags_in_the_documents_exist():
    for path in DOCUMENTS:
        named = set(re.findall(r"(?<![\w-])--\w[\w-]*", path.read_text(encoding="utf-8")))
        assert named - own_options() - OTHERS_OPTIONS == set(), path


def test_links_between_the_documents_exist():
    for path in DOCUMENTS:
        links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8"))
        local = [link for link in links if not link.startswith(("http://", "https://"))]
        assert [link for link in local if not (path.parent / link).exists()] == [], path


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

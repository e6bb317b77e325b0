"""Writes the tables, commands and pictures of docs/learning.md and README.md from the results in docs/learning/*.json.

    python benchmarks/learning.py                      # anew from what is there
    python benchmarks/learning.py NAME OUT [OUT ...]   # takes results.json of `dqn_tf.benchmark --out=OUT` in as NAME

In a document, what stands between `<!-- results: NAME -->` and `<!-- end -->` is written by this program, and so is
what stands after `<!-- published -->`: our results beside those in docs/learning/published.json.
"""

import json
import pathlib
import re
import shlex
import sys

from dqn_tf.benchmark import learning_curves, tables
from dqn_tf.benchmark.comparison import place_of
from dqn_tf.reporting import reward_curve

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "learning"
DOCUMENTS = (ROOT / "docs" / "learning.md", ROOT / "README.md")
_BLOCK = re.compile(r"(<!-- (results: (?P<name>[\w-]+)|published) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def read(name: str) -> list[dict]:
    """Returns the results that were taken in as NAME, one for each directory."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def take_in(name: str, directories: list[str]) -> None:
    """Copies the results of directories of the benchmark into the documents' own file."""
    found = [json.loads(pathlib.Path(one, "results.json").read_text(encoding="utf-8")) for one in directories]
    lines = ",\n".join(json.dumps(one) for one in found)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def command(found: dict) -> str:
    """Returns the command that made these results."""
    envs = ",".join(dict.fromkeys(row["env"] for row in found["runs"]))
    seeds = sorted({row["seed"] for row in found["runs"]})
    shown = f"{seeds[0]}-{seeds[-1]}" if seeds == list(range(seeds[0], seeds[-1] + 1)) else ",".join(map(str, seeds))
    words = [f"--envs={envs}", f"--seeds={shown}", *map(shlex.quote, found["flags"])]
    if list(found["settings"]) != ["default"] or found["settings"]["default"]:
        settings = [f"{name}: {shlex.join(given)}" for name, given in found["settings"].items()]
        words += [f"--setting {shlex.quote(text)}" for text in settings]
    lines, line = [], "    python -m dqn_tf.benchmark --out=OUT"
    for word in words:
        if len(line) + len(word) > 110:
            lines.append(f"{line} \\")
            line = "       "
        line += f" {word}"
    return "\n".join([*lines, line])


def block(name: str) -> str:
    """Returns what a document says of results: the commands, one table and a picture for each environment."""
    results = read(name)
    cells = [cell for found in results for cell in found["aggregates"]]
    pictures = []
    for env in dict.fromkeys(cell["env"] for cell in cells):
        rows = [row for found in results for row in found["runs"] if row["env"] == env]
        curves: dict = {}
        for row in rows:
            curves.setdefault(row["setting"], []).append(row["result"]["curve"])
        picture = f"{name}-{place_of(env)}.png"
        reward_curve.save(learning_curves.draw(env, curves, rows[0]["result"]["threshold"]), RESULTS / picture)
        pictures.append(f"![Learning curves in {env}](learning/{picture})")
    table = tables.markdown({"aggregates": cells})
    return "\n\n".join(["\n".join(map(command, results)), table.rstrip(), "\n".join(pictures)]) + "\n"


def published() -> str:
    """Returns the table of our results beside those of others."""
    ours = {}
    for path in sorted(RESULTS.glob("*.json")):
        if path.stem.startswith("preset"):
            ours |= {cell["env"]: cell for found in read(path.stem) for cell in found["aggregates"]}
    lines = ["| environment | env steps | dqn_tf: mean, IQM (95 %) | seeds | published |", "|---|---|---|---|---|"]
    for env, said in json.loads((RESULTS / "published.json").read_text(encoding="utf-8")).items():
        if env in ours:
            best = {key: None if value is None else tables.digits(value) for key, value in ours[env]["best"].items()}
            interval = f" ({best['low']} to {best['high']})" if best["low"] else ""
            mine = f"{best['mean']}, {best['iqm']}{interval}"
            lines.append(f"| {env} | {said['env_steps']} | {mine} | {len(ours[env]['seeds'])} | {said['published']} |")
    return "\n".join(lines) + "\n"


def anew(text: str) -> str:
    """Returns a document with its blocks written anew, and writes their pictures."""
    return _BLOCK.sub(lambda one: one[1] + (block(one["name"]) if one["name"] else published()) + one[5], text)


def main() -> None:
    """Writes the documents anew."""
    if len(sys.argv) > 2:
        take_in(sys.argv[1], sys.argv[2:])
    for path in DOCUMENTS:
        path.write_text(anew(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Trains one seed after the other by the plain command and prints a table.

    python benchmarks/seeds.py [--seeds=0,1,2,3,4,5,6,7,8,9] [--json=FILE] [flags of train.py]
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def train(seed: int, flags: list[str]) -> dict:
    """Returns the summary of one run with its last evaluation, and the seconds from command to prompt."""
    with tempfile.TemporaryDirectory() as directory:
        logdir = pathlib.Path(directory, "run")
        command = [sys.executable, str(ROOT / "train.py"), f"--seed={seed}", f"--logdir={logdir}", *flags]
        begin = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, text=True)
        seconds = time.perf_counter() - begin
        summary = json.loads((logdir / "summary.json").read_text())
        rows = [json.loads(line) for line in (logdir / "metrics.jsonl").read_text().splitlines()]
    evaluations = [row["eval/return_mean"] for row in rows if "eval/return_mean" in row]
    return {**summary, "last_evaluation": evaluations[-1], "command_seconds": seconds}


def main() -> None:
    """Prints a row as each seed ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2,3,4,5,6,7,8,9")
    parser.add_argument("--json", help="write all summaries to this file")
    arguments, flags = parser.parse_known_args()
    print("| seed | mean return | std | last evaluation | threshold reached at env step | env steps | seconds |")
    print("|---|---|---|---|---|---|---|")
    summaries = []
    for seed in map(int, arguments.seeds.split(",")):
        summary = train(seed, flags)
        summaries.append(summary)
        cells = (
            seed,
            f"{summary['eval_return_mean']:.1f}",
            f"{summary['eval_return_std']:.1f}",
            f"{summary['last_evaluation']:.1f}",
            summary["threshold_env_steps"] or "never",
            summary["env_steps"],
            f"{summary['command_seconds']:.1f}",
        )
        print("|", " | ".join(map(str, cells)), "|", flush=True)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(summaries, indent=2))


if __name__ == "__main__":
    main()

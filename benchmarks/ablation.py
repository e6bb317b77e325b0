"""What each addition to DQN is worth, one at a time: runs of plain DQN and of it with one addition, over seeds.

    python benchmarks/ablation.py OUT [--seeds=3] [--parallel=2] --support=-200,300 --env=LunarLander-v3 [flags of runs]

Each run has one core. --support is where categorical values lie: the discounted returns of the environment.
Writes OUT/results.json, a row a run as it ends, and prints a table: the return of the best model and the mean of all
evaluations, over the seeds, each with a 95 % interval of the mean (Student's t). A second call does what is missing.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import queue
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
# The plain DQN of Mnih et al. 2015, with this program's optimizer and target averaging.
PLAIN = ["--preset=none", "--n_step=1", "--double_q=false"]
ALWAYS = ["--learner_threads=1", "--checkpoint_period=0", "--resume=never"]
TAUS = ["--num_tau_samples=8", "--num_policy_tau_samples=8"]
IQN = ["--head=implicit_quantile", *TAUS]
CATEGORICAL = ("categorical", "rainbow")
# Those that take longest, to begin with.
VARIANTS = {
    "btr": ["--preset=btr", "--double_q=false"],
    "m_iqn": [*IQN, "--munchausen"],
    "implicit_quantile": IQN,
    "rainbow": ["--preset=rainbow"],
    "quantile": ["--head=quantile", "--num_quantiles=51"],
    "categorical": ["--head=categorical"],
    "maxmin": ["--num_critics=2"],
    "prioritized": ["--replay=prioritized"],
    "dueling": ["--dueling"],
    "noisy": ["--noisy", "--epsilon_initial=0", "--epsilon_final=0"],
    "layer norm": ["--normalization=layer"],
    "munchausen": ["--munchausen"],
    "plain DQN": [],
    "double": ["--double_q=true"],
    "three steps": ["--n_step=3"],
    "normalized observations": ["--normalize_observations"],
    "boltzmann": ["--exploration=boltzmann", "--temperature=0.1"],
    "ape_x": ["--exploration=ape_x"],
}
T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 10: 2.262}


def run(out: pathlib.Path, name: str, seed: int, flags: list[str], core: int, until: float) -> dict | None:
    """Returns the figures of one run on a core; None if it does not end in time, or fails."""
    logdir = out / name.replace(" ", "_") / str(seed)
    plain = [] if any(flag.startswith("--preset=") for flag in VARIANTS[name]) else PLAIN
    command = ["taskset", "-c", str(core), sys.executable, str(ROOT / "train.py"), f"--logdir={logdir}"]
    command += [*ALWAYS, *plain, *flags, *VARIANTS[name], f"--seed={seed}"]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    begin = time.monotonic()
    try:
        seconds = until - begin if until else None
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=environment)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        print(f"{name}, seed {seed}: {done.stderr[-500:]}", file=sys.stderr)
        return None
    summary = json.loads((logdir / "summary.json").read_text())
    rows = [json.loads(line) for line in (logdir / "metrics.jsonl").read_text().splitlines()]
    curve = [(row["env_steps"], row["eval/return_mean"]) for row in rows if "eval/return_mean" in row]
    return {
        "name": name,
        "seed": seed,
        "return": summary["eval_return_mean"],
        "curve": curve,
        "seconds": time.monotonic() - begin,
    }


def table(rows: list[dict]) -> str:
    """Returns the table, best first. The mean of all evaluations says how fast it learned."""
    lines = ["| added to plain DQN | return of the best model | mean of all evaluations | seeds | minutes |"]
    lines.append("|---|---|---|---|---|")
    by_name: dict[str, list[dict]] = {}
    for row in rows:
        by_name.setdefault(row["name"], []).append(row)
    for name, runs in sorted(by_name.items(), key=lambda pair: -statistics.mean(row["return"] for row in pair[1])):
        columns = [row["return"] for row in runs], [statistics.mean(y for _, y in row["curve"]) for row in runs]
        shown = [f"{statistics.mean(column):.0f}{_interval(column)}" for column in columns]
        minutes = statistics.mean(row["seconds"] for row in runs) / 60
        lines.append(f"| {name} | {' | '.join(shown)} | {len(runs)} | {minutes:.1f} |")
    return "\n".join(lines)


def _interval(values):
    if len(values) not in T_95:
        return ""
    return f" +- {T_95[len(values)] * statistics.stdev(values) / len(values) ** 0.5:.0f}"


def main() -> None:
    """Runs what is missing, as many at a time as there are cores for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first_seed", type=int, default=100)
    parser.add_argument("--parallel", type=int, default=os.cpu_count())
    parser.add_argument("--first_core", type=int, default=0)
    parser.add_argument("--support", default="-10,10")
    parser.add_argument("--seconds", type=float, default=0, help="leave out what does not end by then; 0: wait for all")
    parser.add_argument("--only", default="", help="variants, separated by commas")
    arguments, flags = parser.parse_known_args()
    until = time.monotonic() + arguments.seconds if arguments.seconds else 0
    path = arguments.out / "results.json"
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = json.loads(path.read_text()) if path.exists() else []
    known = {(row["name"], row["seed"]) for row in rows}
    names = [name for name in VARIANTS if not arguments.only or name in arguments.only.split(",")]
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    wanted = [(name, seed) for name in names for seed in seeds if (name, seed) not in known]
    v_min, v_max = arguments.support.split(",")
    support = [f"--v_min={v_min}", f"--v_max={v_max}"]
    cores: queue.Queue[int] = queue.Queue()
    for core in range(arguments.parallel):
        cores.put(arguments.first_core + core)

    def one(name, seed):
        core = cores.get()
        try:
            more = support if name in CATEGORICAL else []
            return run(arguments.out, name, seed, [*flags, *more], core, until)
        finally:
            cores.put(core)

    with concurrent.futures.ThreadPoolExecutor(arguments.parallel) as executor:
        for made in concurrent.futures.as_completed([executor.submit(one, *pair) for pair in wanted]):
            if made.result():
                rows.append(made.result())
                path.write_text(json.dumps(rows))
                print(f"{made.result()['name']}: {made.result()['return']:.0f}", file=sys.stderr, flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()

"""A run as a batch script of Slurm.

Sources for options whose name does not say all:
- --signal sends SIGTERM to the workers, not to the script, so many seconds before the time is up (sbatch, --signal).
  The workers save and exit with 143. The script then asks for a new start, which resumes the run.
- srun ends with the highest exit code of its tasks (srun, "Return value"). scancel also ends the script, so a cancelled
  job does not start again.
- srun does not take --cpus-per-task from sbatch (srun, --cpus-per-task, since 22.05).
- --mem is for each node, and a limit if the cluster enforces it. Without --mem a step has all memory (sbatch, --mem).
- --overlap lets the evaluator share the cores of worker 0's node (srun, --overlap).
- SLURM_RESTART_COUNT also counts starts after a lost node or a preemption, which Slurm makes itself (--requeue).
"""

import shlex

from dqn_tf.config.schema import ConfigError
from dqn_tf.jobs.job import Files, Job

_EVALUATOR_GIB = 2
_EVALUATOR = """
# The evaluator shares worker 0's node and has no GPU. It ends with the run.
{evaluator} &
evaluator=$!
"""
_WAIT = """
if ((code == 0)); then
  wait "$evaluator" || echo "the evaluator ended with exit code $?" >&2
fi
"""
_AGAIN = """
# 143: a worker was lost, or the time is up. A new start resumes from the last checkpoint.
restarts=${{SLURM_RESTART_COUNT:-0}}
if ((code == 143 && restarts < {max_restarts})); then
  echo "exit code 143: restart $((restarts + 1)) of {max_restarts}" >&2
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""


def files(job: Job) -> Files:
    """Returns job.sbatch. Submit it from the directory of train.py, with the Python environment of the run active.

    Raises:
      ConfigError: Slurm would not take the job.
    """
    if job.max_seconds < 60 + job.grace_seconds:
        raise ConfigError(
            f"--max_hours={job.max_seconds / 3600:g} leaves no minute before --grace_seconds={job.grace_seconds}; give "
            "more of the first or less of the second."
        )
    return Files(
        contents={"job.sbatch": _script(job)},
        submit=("sbatch", "job.sbatch"),
        watch=(
            f"squeue --me --name={job.name}",
            f"tail --follow=name --retry {job.name}.log",
            f"tensorboard --logdir={shlex.quote(job.place)}",
        ),
    )


def _script(job):
    header = ["#!/bin/bash", f"# Made by: {job.command}", *(f"#SBATCH --{line}" for line in _directives(job))]
    workers = ["srun", "--distribution=block", "--kill-on-bad-exit=1", f"--ntasks={job.workers}"]
    workers.append(f"--cpus-per-task={job.cores}")
    evaluator = ["srun", "--overlap", "--nodes=1", "--ntasks=1", "env", "CUDA_VISIBLE_DEVICES="]
    body = _EVALUATOR.format(evaluator=_step(job, evaluator, "--task_type=evaluator")) if job.evaluator else ""
    body += f"\ncode=0\n{_step(job, workers)} || code=$?\n"
    body += _WAIT if job.evaluator else ""
    return "\n".join(header) + "\n\nset -u\n" + body + _AGAIN.format(max_restarts=job.max_restarts)


def _directives(job):
    minutes = -(-job.max_seconds // 60)
    yield f"job-name={job.name}"
    yield f"nodes={job.workers}"
    yield f"ntasks={job.workers}"
    yield "ntasks-per-node=1"
    yield f"cpus-per-task={job.cores}"
    yield f"mem={job.memory_gib + (_EVALUATOR_GIB if job.evaluator else 0)}G"
    if job.gpus:
        yield f"gpus-per-node={job.gpus}"
    if job.partition:
        yield f"partition={job.partition}"
    if job.identity:
        yield f"account={job.identity}"
    yield f"time={minutes // 1440}-{minutes % 1440 // 60:02d}:{minutes % 60:02d}:00"
    yield f"signal=TERM@{job.grace_seconds}"
    yield "requeue"
    yield "open-mode=append"
    yield f"output={job.name}.log"


def _step(job, words, *more):
    """Returns the command of a job step, one flag a line."""
    flags = [*job.arguments, f"--logdir={job.place}", *more]
    return " \\\n  ".join([" ".join([*words, "python", "train.py"]), *map(shlex.quote, flags)])

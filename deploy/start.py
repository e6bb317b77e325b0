"""What the image starts: train.py with its flags, or what SageMaker calls `train`, where that is the one argument.

That is SageMaker's toolkit, which starts train.py with the job's hyperparameters, and here SIGTERM is passed on to it.
SageMaker stops a job with SIGTERM to process 1 and kills all 120 s later. The toolkit's own program does not hear it as
process 1; with an init before it, it ends at once, and the container with it. Neither lets train.py save.
"""

import os
import pathlib
import shutil
import signal
import sys

PROGRAM = pathlib.Path(__file__).with_name("train.py")


def main(argv: list[str]) -> None:
    """Becomes train.py, or runs SageMaker's toolkit: exit code 0, or 1 and the reason in /opt/ml/output/failure."""
    if argv != ["train"]:
        os.execv(sys.executable, [sys.executable, str(PROGRAM), *argv])
    signal.signal(signal.SIGTERM, _pass_on)
    os.environ.setdefault("SAGEMAKER_PROGRAM", PROGRAM.name)
    from sagemaker_training import environment, trainer  # takes a second, in which SIGTERM is heard

    if "sagemaker_submit_directory" not in environment.read_hyperparameters():  # the job brings no code of its own
        shutil.copytree(PROGRAM.parent, environment.code_dir, dirs_exist_ok=True)
    trainer.train()


def _pass_on(number, frame):
    children = pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()
    if not children:  # train.py has not been started: there is nothing to save
        os._exit(128 + number)
    for child in children:
        os.kill(int(child), number)


if __name__ == "__main__":
    main(sys.argv[1:])

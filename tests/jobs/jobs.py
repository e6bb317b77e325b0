"""Makes jobs for the tests, and takes what the clouds' own programs send."""

import contextlib
import http.server
import json
import os
import shutil
import subprocess
import sysconfig
import threading
from collections.abc import Mapping, Sequence

import pytest

from dqn_tf.jobs.job import Job


def make_job(**changes) -> Job:
    """Returns a job of four workers with a GPU each, whose numbers divide among them."""
    fields = dict(
        name="dqn-run",
        flags=("--env=CartPole-v1", "--batch_size=96", "--overlap=false"),
        strategy="multiworker",
        workers=4,
        gpus=1,
        gpu_type="NVIDIA_TESLA_T4",
        machine="n1-standard-8",
        region="us-central1",
        image="registry.example.com/dqn_tf:1",
        storage="gs://bucket/runs",
        spot=False,
        evaluator=False,
        tensorboard="",
        identity="",
        max_seconds=3600,
        max_restarts=3,
        grace_seconds=120,
    )
    return Job(**{**fields, **changes})


@contextlib.contextmanager
def cloud(answer: Mapping):
    """Serves a cloud that has the one answer; yields its address and the list of the requests' bodies."""
    bodies = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            content = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", bodies
        finally:
            server.shutdown()
            thread.join()


def submit(files, directory, more: Sequence[str] = (), **environ: str) -> subprocess.CompletedProcess:
    """Runs the command that submits a job, with `more` words, where its program is installed; nothing leaves here."""
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    program = shutil.which(files.submit[0], path=path)
    if program is None:
        pytest.skip(f"needs {files.submit[0]}")
    for name, text in files.contents.items():
        (directory / name).write_text(text, encoding="utf-8")
    alone = {"HOME": str(directory), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    environ = {**os.environ, **alone, "PATH": path, **environ}
    words = [program, *files.submit[1:], *more]
    return subprocess.run(words, cwd=directory, env=environ, capture_output=True, text=True, timeout=120)

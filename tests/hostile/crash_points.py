"""Run the command line in real processes that can be killed at any touch of the disk, Python started only once.

A server imports the heavy packages once and forks a child for every run; the child's audit hook counts what it is about
to do to the disk, and at the chosen count the process gets SIGKILL, from which nothing can clean up.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

OPENING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = ("os.rename", "os.mkdir", "open")
REMOVALS = ("os.remove", "os.rmdir")


class Outcome(NamedTuple):
    code: int
    """Exit code; minus the signal that killed it."""
    touches: int
    """Times it was about to change the disk; 0 when it was killed."""
    out: str
    err: str


class Forks:
    """Children of a server that has everything imported."""

    def __init__(self, home):
        self.home = Path(home)
        self.home.mkdir(parents=True, exist_ok=True)
        settings = {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "TMPDIR": str(self.home / "temporary")}
        self.temporary = self.home / "temporary"
        self.temporary.mkdir(exist_ok=True)
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **settings, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )  # fmt: skip

    def start(self, *argv, kill_at=None, under=None, code=None, removals=False, file_limit=None, signal_at=None):
        """Ask for a run; `result` waits for it."""
        told = {
            "argv": [str(a) for a in argv], "kill_at": kill_at, "under": str(under or self.home), "code": code,
            "removals": removals, "file_limit": file_limit, "signal_at": signal_at, "home": str(self.home),
        }  # fmt: skip
        self._server.stdin.write(json.dumps(told) + "\n")
        self._server.stdin.flush()

    def result(self):
        return Outcome(**json.loads(self._server.stdout.readline()))

    def run(self, *argv, **options):
        self.start(*argv, **options)
        return self.result()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait(60)


def serve():
    """One child a line of standard input."""
    import tempfile

    import matplotlib.figure  # noqa: F401
    import SimpleITK  # noqa: F401
    import torch

    torch.set_num_threads(1)
    tempfile.gettempdir()  # tries the folder once, by a file of its own
    answers = os.fdopen(os.dup(1), "w")
    for number, line in enumerate(sys.stdin):
        told = json.loads(line)
        files = [Path(told["home"]) / f".{number}.{name}" for name in ("out", "err", "count")]
        child = os.fork()
        if child == 0:
            _child(told, files)
        _, status = os.waitpid(child, 0)
        texts = [file.read_text() if file.exists() else "" for file in files]
        for file in files:
            file.unlink(missing_ok=True)
        answer = {"code": os.waitstatus_to_exitcode(status), "out": texts[0], "err": texts[1]}
        answers.write(json.dumps({**answer, "touches": int(texts[2] or 0)}) + "\n")
        answers.flush()


def _child(told, files):
    """Run the command, and leave without the server's clean-up."""
    code = 99
    try:
        for stream, path in ((1, files[0]), (2, files[1])):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
        if told["file_limit"] is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (told["file_limit"],) * 2)
        touches = _watch(told)
        sys.argv = ["ctp-torch", *told["argv"]]
        try:
            if told["code"]:
                exec(told["code"], {"__name__": "killed", "watch": touches})
            else:
                from ctp_torch.cli import main

                main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1)) if told["file_limit"] is None else None
        files[2].write_text(str(touches["count"]))
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001 - whatever it is, it belongs to the child's answer
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _watch(told):
    """Count the touches of the disk below a folder from now on, and die at the chosen one."""
    seen = {"count": 0}
    events = CHANGES + (REMOVALS if told["removals"] else ())

    def hook(event, details):
        if event not in events or (event == "open" and not (details[2] or 0) & OPENING):
            return
        path = details[0]
        if not isinstance(path, str | bytes | os.PathLike) or not os.fsdecode(path).startswith(told["under"]):
            return
        seen["count"] += 1
        if seen["count"] == told["kill_at"]:
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)
        if told["signal_at"] and seen["count"] == told["signal_at"][0]:
            os.kill(os.getpid(), told["signal_at"][1])

    sys.addaudithook(hook)
    return seen


if __name__ == "__main__":
    serve()

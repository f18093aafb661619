"""Run the command line in real processes that can be killed at any touch of the disk, Python started only once.

A server imports the heavy packages once and forks a child for every run; the child's audit hook counts what it is about
to do to the disk, and at the chosen count the process gets SIGKILL, from which nothing can clean up.
"""

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
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
    """Children of a server that has everything imported; their temporary files go to ``temporary``."""

    def __init__(self, home):
        self.home = Path(home)
        self.temporary = self.home / "temporary"
        self.temporary.mkdir(parents=True)
        settings = {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "TMPDIR": str(self.temporary)}
        self._server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **settings, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )

    def together(self, *runs):
        """The outcomes of runs at the same time, each told as a dictionary of the arguments of `run`."""
        self._server.stdin.write(json.dumps([{"home": str(self.home), **one} for one in runs]) + "\n")
        self._server.stdin.flush()
        return [Outcome(*one) for one in json.loads(self._server.stdout.readline())]

    def run(self, *argv, **options):
        """The outcome of one run.

        Parameters
        ----------
        argv
            of ``ctp-torch``
        kill_at, under
            SIGKILL before that touch of the disk, counted from 1 below that folder [the server's home]
        signal_at
            touch and number of a signal that it may handle
        removals
            whether removals count as touches
        file_limit
            no file may grow larger [bytes]
        code
            Python to run instead of the command
        """
        return self.together({"argv": [str(a) for a in argv], **options})[0]

    def close(self):
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait(60)


def serve():
    """Answer every line of standard input."""
    import torch

    import ctp_torch.cli
    import ctp_torch.pipeline  # noqa: F401

    torch.set_num_threads(1)
    tempfile.gettempdir()  # tries the folder once, by a file of its own
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        answer = []
        children = [_start(told) for told in json.loads(line)]
        for child, files in children:
            _, status = os.waitpid(child, 0)
            out, err, rest = (file.read_text() if file.exists() else "" for file in files)
            for file in files:
                file.unlink(missing_ok=True)
            told = json.loads(rest) if rest else {"touches": 0, "modules": []}
            for name in told["modules"]:  # the next child finds them imported
                if name not in sys.modules and name.partition(".")[0] not in ("__main__", "killed"):
                    try:
                        importlib.import_module(name)
                    except (ImportError, AttributeError):
                        continue
            answer.append((os.waitstatus_to_exitcode(status), told["touches"], out, err))
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _start(told):
    """A child, and the files of what it says."""
    drawn = os.urandom(4).hex()
    files = [Path(told["home"]) / f".said-{drawn}.{name}" for name in ("out", "err", "rest")]
    child = os.fork()
    if child == 0:
        _child(told, files)
    return child, files


def _child(told, files):
    """Run the command, and leave without the server's clean-up."""
    code = 99
    try:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever started the tests may have them ignored, as nohup does
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for stream, path in ((1, files[0]), (2, files[1])):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
        if told.get("file_limit") is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (told["file_limit"], resource.RLIM_INFINITY))
        seen = _watch(told)
        sys.argv = ["ctp-torch", *told["argv"]]
        try:
            if told.get("code"):
                exec(told["code"], {"__name__": "killed"})
            else:
                from ctp_torch.cli import main

                main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        files[2].write_text(json.dumps({"touches": seen["count"], "modules": sorted(sys.modules)}))
    except BaseException:  # noqa: BLE001 - whatever it is, it belongs to the child's answer
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _watch(told):
    """Count the touches of the disk below a folder from now on, and die at the chosen one."""
    seen = {"count": 0}
    events = CHANGES + (REMOVALS if told.get("removals") else ())
    under = str(told.get("under") or told["home"])

    def hook(event, details):
        if event not in events or (event == "open" and not (details[2] or 0) & OPENING):
            return
        path = details[0]
        if not isinstance(path, str | bytes | os.PathLike) or not os.fsdecode(path).startswith(under):
            return
        if "/.said-" in os.fsdecode(path):
            return
        seen["count"] += 1
        if seen["count"] == told.get("kill_at"):
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)
        if told.get("signal_at") and seen["count"] == told["signal_at"][0]:
            os.kill(os.getpid(), told["signal_at"][1])

    sys.addaudithook(hook)
    return seen


if __name__ == "__main__":
    serve()

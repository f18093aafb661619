"""What a worker may be told to do with an analysis; at the top of a module, as other processes import it by name."""

import os
import signal
import time


def leaves_a_file(analysis, folder):
    """The mean flow, in a text file."""
    folder.mkdir()
    (folder / "cbf.txt").write_text(f"{float(analysis.maps['cbf'].mean())}\n")


def dies(analysis, folder):
    """Killed in the middle of writing."""
    os.kill(os.getpid(), signal.SIGKILL)


def waits(analysis, folder):
    """Never done."""
    time.sleep(600)

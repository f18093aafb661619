"""What a node says of itself: a line of JSON an event, without identity; and apart from it, who sent and got what."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import sys
import time
from pathlib import Path

__all__ = ["Journal", "anonymous", "digest"]

_UID = re.compile(r"\b(?:[0-2](?:\.\d+){3,}|2\.25\.\d{6,})\b")


def digest(text: str) -> str:
    """Sixteen hexadecimal digits that tell identifiers apart and give none away."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def anonymous(message: str) -> str:
    """A message with its UIDs as their hashes."""
    return _UID.sub(lambda match: digest(match[0]), message)


class Journal:
    """The log of one part of a node.

    Parameters
    ----------
    part
        receive, watch, work, send, page or node
    log
        file; the error stream when empty
    audit
        file of who sent and got what; none when empty
    """

    def __init__(self, part: str, *, log: str = "", audit: str = "") -> None:
        self.part, self._log, self._audit = part, log, audit

    def say(self, event: str, *, level: str = "info", **facts: object) -> None:
        """One event; the facts must identify nobody."""
        record = {"time": _now(), "level": level, "part": self.part, "event": event, **facts}
        line = anonymous(json.dumps(record, default=str))
        if self._log:
            _append(self._log, line)
        else:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    def note(self, action: str, *, study: str, who: str) -> None:
        """One line of the audit, where it is kept: what was done with which study, and by or for whom."""
        if self._audit:
            _append(self._audit, json.dumps({"time": _now(), "action": action, "study": study, "who": who}))


def silence_libraries() -> None:
    """Keep the network and DICOM libraries from writing what may name people."""
    import warnings

    warnings.simplefilter("ignore")
    for name in ("pynetdicom", "pydicom", "httpx", "httpcore", "dicomweb_client", "urllib3", "highdicom"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.CRITICAL + 1)
        logger.propagate = False


def _append(place: str, line: str) -> None:
    """A line at the end of a file that its user alone may read; one write, so that several processes may share it."""
    path = Path(place)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(handle, (line + "\n").encode("utf-8", "backslashreplace"))
    finally:
        os.close(handle)


def _now() -> str:
    """The moment, with its zone."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")

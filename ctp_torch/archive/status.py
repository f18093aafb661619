"""How a node fares: its cases for people, its health for whoever watches over it, its numbers for Prometheus."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from typing import Any

from ctp_torch.archive.queue import Queue, Row
from ctp_torch.archive.settings import NodeSettings

__all__ = ["case_rows", "health", "metrics", "study_rows"]

_STUCK_S = 3600.0
"""A delivery that waits for longer is worth a look."""
_TAKE = "SELECT c.*, s.name AS name, s.first AS first FROM cases c LEFT JOIN studies s ON s.study=c.study"


def case_rows(queue: Queue, *, state: str = "", limit: int = 200) -> list[dict[str, Any]]:
    """Cases, the newest first, as a table shows them; nothing in them names anybody.

    Parameters
    ----------
    queue
        of the node
    state
        only those in it
    limit
        at most so many
    """
    where = " WHERE c.state=?" if state else ""
    values = (state, limit) if state else (limit,)
    rows = queue.rows(f"{_TAKE}{where} ORDER BY c.id DESC LIMIT ?", *values)
    return [_case(row, queue) for row in rows]


def _case(row: Row, queue: Queue) -> dict[str, Any]:
    """One case."""
    deliveries = queue.rows("SELECT * FROM deliveries WHERE number=? ORDER BY destination", row["id"])
    sent = [one["sent"] for one in deliveries if one["sent"]]
    waiting = [one for one in deliveries if one["state"] != "sent"]
    return {
        "case": row["id"],
        "study": row["name"],
        "state": row["state"],
        "images": row["n_images"],
        "replaces": row["replaces"],
        "attempts": row["attempts"],
        "last_image": row["last"],
        "seconds": None if row["seconds"] is None else round(row["seconds"], 1),
        "to_last_result_s": round(max(sent) - row["last"], 1) if sent and not waiting else None,
        "message": row["message"],
        "deliveries": [
            {"destination": one["destination"], "what": one["what"], "state": one["state"],
             "attempts": one["attempts"], "message": one["message"]}
            for one in deliveries
        ],
    }  # fmt: skip


def study_rows(queue: Queue, *, limit: int = 200) -> list[dict[str, Any]]:
    """Studies that are still coming, or hold no perfusion series."""
    rows = queue.rows(
        "SELECT s.*, (SELECT COUNT(*) FROM images i WHERE i.study=s.study) AS images FROM studies s WHERE "
        "s.state IN ('receiving', 'ignored') ORDER BY s.last DESC LIMIT ?",
        limit,
    )
    return [
        {
            "study": r["name"],
            "state": r["state"],
            "images": r["images"],
            "last_image": r["last"],
            "message": r["message"],
        }
        for r in rows
    ]


def health(settings: NodeSettings, queue: Queue) -> tuple[bool, Mapping[str, Any]]:
    """Whether a person should look, and at what."""
    free = shutil.disk_usage(settings.folder).free
    stuck = queue.one(
        "SELECT COUNT(*) AS n FROM deliveries d JOIN cases c ON c.id=d.number WHERE d.state='waiting' AND "
        "d.attempts>0 AND c.made<?",
        time.time() - _STUCK_S,
    )
    running = queue.one(
        "SELECT COUNT(*) AS n FROM cases WHERE state='running' AND started<?", time.time() - settings.time_limit_s - 60
    )
    problems = []
    if free < settings.keep_free_gb * 1e9:
        problems.append(f"{free / 1e9:.1f} GB of disk are free: nothing more is accepted")
    if stuck and stuck["n"]:
        problems.append(f"{stuck['n']} deliveries wait for more than an hour")
    if running and running["n"]:
        problems.append(f"{running['n']} cases run for longer than they may: is the work part alive?")
    states = {row["state"]: row["n"] for row in queue.rows("SELECT state, COUNT(*) AS n FROM cases GROUP BY state")}
    return not problems, {"healthy": not problems, "problems": problems, "cases": states, "disk_free_bytes": free}


def metrics(settings: NodeSettings, queue: Queue) -> str:
    """The same as numbers, in Prometheus' text format."""
    well, facts = health(settings, queue)
    lines = ["# TYPE ctp_torch_healthy gauge", f"ctp_torch_healthy {int(well)}"]
    lines += ["# TYPE ctp_torch_disk_free_bytes gauge", f"ctp_torch_disk_free_bytes {facts['disk_free_bytes']}"]
    lines.append("# TYPE ctp_torch_cases gauge")
    lines += [f'ctp_torch_cases{{state="{state}"}} {n}' for state, n in sorted(facts["cases"].items())]
    lines.append("# TYPE ctp_torch_deliveries gauge")
    waiting = queue.rows("SELECT destination, state, COUNT(*) AS n FROM deliveries GROUP BY destination, state")
    for row in waiting:
        lines.append(f'ctp_torch_deliveries{{destination="{row["destination"]}",state="{row["state"]}"}} {row["n"]}')
    lines.append("# TYPE ctp_torch_events_total counter")
    for row in queue.rows("SELECT name, value FROM counts ORDER BY name"):
        lines.append(f'ctp_torch_events_total{{event="{row["name"]}"}} {row["value"]}')
    times = queue.rows("SELECT seconds, done-last AS whole FROM cases WHERE state='done' ORDER BY id DESC LIMIT 100")
    for name, column in (
        ("ctp_torch_case_seconds", "seconds"),
        ("ctp_torch_last_image_to_last_result_seconds", "whole"),
    ):
        values = sorted(row[column] for row in times if row[column] is not None)
        if values:
            lines.append(f"# TYPE {name} gauge")
            lines += [
                f'{name}{{quantile="{q}"}} {values[min(len(values) - 1, int(q * len(values)))]:.3f}' for q in (0.5, 0.9)
            ]
    return "\n".join(lines) + "\n"

"""The status page over HTTP: this machine only, or with a token and a certificate."""

from __future__ import annotations

import hmac
import json
import mimetypes
import re
import socket
import threading
import time
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from ctp_torch.archive.settings import NodeSettings
from ctp_torch.archive.settings_file import loopback
from ctp_torch.archive.status import case_rows, health, metrics, study_rows
from ctp_torch.archive.store import Store
from ctp_torch.archive.tls import server_context

if TYPE_CHECKING:
    import ssl

    import jinja2

__all__ = ["serve_page"]

_PATIENCE_S, _MOST = 10.0, 16
"""A client that says nothing for so long is let go, and so many are served at once."""
_REPORT = re.compile(r"/report/(\d{1,9})/(.*)")
_SAFE = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"


def serve_page(settings: NodeSettings, store: Store, stop: threading.Event) -> None:
    """Serve the page until told to stop.

    Parameters
    ----------
    settings, store
        of the node
    stop
        ends it
    """
    page = settings.page
    context = server_context(page.tls) if page.tls.certificate else None
    token = page.token.read()

    class Handler(_Handler):
        pass

    Handler.settings, Handler.store, Handler.token = settings, store, token
    server = None
    while server is None and not stop.is_set():
        try:
            server = _Server((page.host, page.port), Handler)
            server.context = context
        except OSError:  # a part that is just ending still holds the port
            stop.wait(1.0)
    if server is None:
        return
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True).start()
    stop.wait()
    server.shutdown()
    server.server_close()


class _Server(ThreadingHTTPServer):
    """Few clients at once, and handshakes that keep nobody waiting."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 32
    context: ssl.SSLContext | None = None

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._free = threading.BoundedSemaphore(_MOST)
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            request.settimeout(_PATIENCE_S)
            if self.context is not None:
                request = self.context.wrap_socket(request, server_side=True)
            super().process_request_thread(request, client_address)
        except OSError:  # no handshake, or gone
            self.shutdown_request(request)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that broke off is no event."""


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    settings: NodeSettings
    store: Store
    token: str
    timeout = _PATIENCE_S
    server_version, sys_version = "ctp-torch", ""

    def do_GET(self) -> None:
        """Answer."""
        url = urlsplit(self.path)
        if not self._allowed(parse_qs(url.query).get("token", [""])[0]):
            return
        queue = self.store.queue
        if url.path == "/health":
            well, facts = health(self.settings, queue)
            self._answer(200 if well else 503, "application/json", json.dumps(facts))
        elif url.path == "/metrics":
            self._answer(200, "text/plain; version=0.0.4; charset=utf-8", metrics(self.settings, queue))
        elif url.path == "/cases.json":
            self._answer(200, "application/json", json.dumps({"cases": case_rows(queue), "studies": study_rows(queue)}))
        elif url.path == "/":
            self._answer(200, "text/html; charset=utf-8", self._page())
        elif match := _REPORT.fullmatch(url.path):
            self._report(int(match[1]), match[2] or "report.html")
        else:
            self._answer(404, "text/plain", "not here\n")

    def _allowed(self, given: str) -> bool:
        """Whether the client may ask: by the token where there is one, and not by way of a foreign page's name."""
        if self.token:
            header = self.headers.get("Authorization", "").removeprefix("Bearer ").strip()
            if hmac.compare_digest((header or given).encode(), self.token.encode()):
                return True
            self._answer(401, "text/plain", "give the token: Authorization: Bearer TOKEN, or ?token=TOKEN\n")
            return False
        host = self.headers.get("Host", "").rsplit(":", 1)[0].strip("[]")
        if loopback(host or "localhost"):
            return True
        self._answer(403, "text/plain", "this page is for this machine\n")
        return False

    def _page(self) -> str:
        """The page."""
        well, facts = health(self.settings, self.store.queue)
        reports = {int(p.parent.parent.name) for p in self.store.cases.glob("*/maps/report.html")}
        return _template().render(
            cases=case_rows(self.store.queue), studies=study_rows(self.store.queue), well=well, facts=facts,
            reports=reports, token=f"?token={self.token}" if self.token else "", moment=_moment, now=time.time(),
        )  # fmt: skip

    def _report(self, number: int, name: str) -> None:
        """A file of a case's report, and no other."""
        home = (self.store.case(number) / "maps").resolve()
        path = (home / name).resolve()
        inside = path == home / "report.html" or path.is_relative_to(home / "report")
        if not inside or not path.is_file():
            self._answer(404, "text/plain", "not here\n")
            return
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        self._answer(200, kind, path.read_bytes(), policy="")

    def _answer(self, code: int, kind: str, body: str | bytes, *, policy: str = _SAFE) -> None:
        """Send it."""
        data = body.encode() if isinstance(body, str) else body
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        if policy:
            self.send_header("Content-Security-Policy", policy)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Nothing is written of who looks: a request may hold the token."""


@cache
def _template() -> jinja2.Template:
    """Of the page."""
    import jinja2

    text = (Path(__file__).parent / "node.html").read_text(encoding="utf-8")
    return jinja2.Environment(autoescape=True).from_string(text)


def _moment(seconds: float) -> str:
    """A time of day, with its date."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))

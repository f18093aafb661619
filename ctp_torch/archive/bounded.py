"""A DICOM server that no peer can drown: connections, lengths and time are bounded, and handshakes wait for nobody."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

from ctp_torch.archive.settings import DicomDoor

__all__ = ["serve"]

_SPARE = 8
"""Connections beyond the associations allowed: they are to hear that there is no room, not to be cut off."""
_AHEAD = 16
"""Objects that a peer may send without waiting for answers."""
_WAITING = 64
"""Connections that the system holds for us."""


def serve(ae: Any, door: DicomDoor, handlers: list[Any], *, context: ssl.SSLContext | None) -> Any:
    """The server of an application entity, running in a thread; ``shutdown`` ends it.

    Parameters
    ----------
    ae
        ``pynetdicom.AE`` with its contexts
    door
        the limits
    handlers
        ``(event, callable)``
    context
        of TLS; none when None
    """
    from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

    live = _Count()

    class Handler(RequestHandler):  # type: ignore[misc]
        def _create_association(self) -> Any:
            self.association = super()._create_association()
            _bound(self.association.dul.socket, door)
            return self.association

        def handle(self) -> None:
            super().handle()
            self.association.join()
            self.association.dul.join(door.timeout_s)
            _drop_part(self.association.dimse.message)  # pynetdicom leaves what was cut short on the disk,
            self.request.close()  # and the connections of peers that broke off

    class Server(ThreadedAssociationServer):  # type: ignore[misc]
        request_queue_size = _WAITING
        daemon_threads = True
        block_on_close = False

        def get_request(self) -> tuple[Any, Any]:
            request, address = self.socket.accept()
            return request, address

        def process_request(self, request: Any, client_address: Any) -> None:
            if live.value >= door.max_associations + _SPARE:
                self.shutdown_request(request)
                return
            super().process_request(request, client_address)

        def process_request_thread(self, request: Any, client_address: Any) -> None:
            with live:
                try:
                    request.settimeout(door.timeout_s)
                    if context is not None:
                        request = context.wrap_socket(request, server_side=True)
                    self.finish_request(request, client_address)
                except OSError:  # gone, or no handshake
                    self.shutdown_request(request)

        def handle_error(self, request: Any, client_address: Any) -> None:
            self.shutdown_request(request)

    server = ae.make_server(
        (door.host, door.port),
        evt_handlers=handlers,
        server_class=lambda *a, **k: Server(*a, request_handler=Handler, **k),
    )
    ae._servers.append(server)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True).start()
    return server


class _Count:
    """How many are in a block."""

    def __init__(self) -> None:
        self.value, self._lock = 0, threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.value += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.value -= 1


def _bound(connection: Any, door: DicomDoor) -> None:
    """Make a connection's reads refuse what is too long and end what is too slow."""
    plain: socket.socket = connection.socket
    dimse, most, patience = connection.assoc.dimse, door.max_pdu + 1024, door.timeout_s

    quick = getattr(socket, "TCP_QUICKACK", None)  # Linux alone

    def receive(n_bytes: int) -> bytearray:
        """So many bytes, fewer where the peer ends."""
        if n_bytes > most:
            raise OSError("a protocol data unit longer than agreed")
        if _size(dimse.message) > door.max_object_mb * 1e6 or dimse.msg_queue.qsize() > _AHEAD:
            raise OSError("more than an object may be")
        data, view_at, deadline = bytearray(n_bytes), 0, time.monotonic() + patience
        view = memoryview(data)
        while view_at < n_bytes:
            if time.monotonic() > deadline:
                raise TimeoutError("a protocol data unit that takes too long")
            got = plain.recv_into(view[view_at:])
            if quick is not None:  # peers send a command, wait for its acknowledgement, and then send the image
                plain.setsockopt(socket.IPPROTO_TCP, quick, 1)
            if not got:
                break
            view_at += got
        view.release()
        del data[view_at:]
        return data

    connection.recv = receive


def _size(message: Any) -> int:
    """Bytes of an object so far; command sets, which are short, count a thousandfold."""
    if message is None:
        return 0
    data = message._data_set_file or message.data_set
    size: int = data.tell() + 1000 * max(0, message.encoded_command_set.tell() - 4096)
    return size


def _drop_part(message: Any) -> None:
    """Remove the file of an object that was cut short."""
    if message is not None and message._data_set_file:
        message._data_set_file.close()
        Path(message._data_set_file.name).unlink(missing_ok=True)

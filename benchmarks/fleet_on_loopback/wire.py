"""Reads the wire: stands between the devices and the server, ends TLS, and keeps every byte that went up.

It can do so only because the test holds the fleet's own private key. Bytes go on as they came.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from pathlib import Path

from benchmarks.fleet_on_loopback.processes import LOOPBACK

_CHUNK_BYTES = 1 << 16


class Wire:
    """Listens on loopback at `port`, and passes everything on to `server_port`."""

    def __init__(self, folder: Path, *, server_port: int) -> None:
        """folder: of the fleet, with its certificates and keys."""
        self._server_port = server_port
        self._inner = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._inner.load_cert_chain(folder / "certificates" / "server.pem", folder / "keys" / "server.pem")
        self._outer = ssl.create_default_context(cafile=str(folder / "certificates" / "ca.pem"))
        self._connections: list[bytearray] = []
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, name="wire", daemon=True).start()

    def sent(self) -> list[bytes]:
        """All that devices have sent so far, by connection."""
        return [bytes(each) for each in self._connections]

    def close(self) -> None:
        self._listener.close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                device, _ = self._listener.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._join, args=(device,), daemon=True).start()

    def _join(self, device: socket.socket) -> None:
        with contextlib.suppress(OSError):
            inner = self._inner.wrap_socket(device, server_side=True)
            plain = socket.create_connection((LOOPBACK, self._server_port))
            outer = self._outer.wrap_socket(plain, server_hostname=LOOPBACK)
            up, down = bytearray(), bytearray()
            self._connections.append(up)
            back = threading.Thread(target=_pass, args=(outer, inner, down), daemon=True)
            back.start()
            _pass(inner, outer, up)
            back.join()
        device.close()


def _pass(source: ssl.SSLSocket, to: ssl.SSLSocket, kept: bytearray) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(_CHUNK_BYTES):
            kept += chunk
            to.sendall(chunk)
    for end in (source, to):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)

"""Reads the wire: stands between the devices and the server, ends TLS, and keeps every byte that went up.

It can do so only because it holds the fleet's own private key. Bytes go on as they came.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from pathlib import Path

from benchmarks.fleet_on_loopback.processes import LOOPBACK

_CHUNK_BYTES = 1 << 16


class Wire:
    """A proxy that listens at a port of loopback, and passes everything on to `server_port`.

    One thread for all connections: a TLS connection must not be read in one thread and written in another.
    """

    def __init__(self, folder: Path, *, server_port: int) -> None:
        """folder: of the fleet, with its certificates and keys."""
        self._server_port = server_port
        self._inner = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._inner.load_cert_chain(folder / "certificates" / "server.pem", folder / "keys" / "server.pem")
        self._outer = ssl.create_default_context(cafile=str(folder / "certificates" / "ca.pem"))
        self._connections: list[bytearray] = []
        self._tasks: set[asyncio.Task[None] | None] = set()  # asyncio itself holds them by a weak hand
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wire", daemon=True)
        self._thread.start()
        listening = asyncio.start_server(self._join, LOOPBACK, 0, ssl=self._inner)
        self._server = asyncio.run_coroutine_threadsafe(listening, self._loop).result()
        self.port = int(self._server.sockets[0].getsockname()[1])

    def sent(self) -> list[bytes]:
        """Return all that devices have sent so far, by connection."""
        return [bytes(each) for each in self._connections]

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _end(self) -> None:
        self._server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _join(self, device: asyncio.StreamReader, to_device: asyncio.StreamWriter) -> None:
        up, down = bytearray(), bytearray()
        self._connections.append(up)
        self._tasks.add(asyncio.current_task())
        with contextlib.suppress(OSError):
            server, to_server = await asyncio.open_connection(
                LOOPBACK, self._server_port, ssl=self._outer, server_hostname=LOOPBACK
            )
            await asyncio.gather(_pass(device, to_server, up), _pass(server, to_device, down))
        to_device.close()


async def _pass(source: asyncio.StreamReader, to: asyncio.StreamWriter, kept: bytearray) -> None:
    with contextlib.suppress(OSError):
        while chunk := await source.read(_CHUNK_BYTES):
            kept += chunk
            to.write(chunk)
            await to.drain()
    to.close()

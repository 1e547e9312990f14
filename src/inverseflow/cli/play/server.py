"""The server of the page: the standard library's, for this computer alone."""

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any

from inverseflow.cli.play.model import RUNTIME, Player
from inverseflow.errors import InverseFlowError, OptionError

_HOST = "127.0.0.1"
_MOST_BYTES = 2**24  # of a request
_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"}


class PlayServer(ThreadingHTTPServer):
    """Serves the page, its files, and what PyTorch computes for it."""

    daemon_threads = True

    def __init__(self, player: Player, port: int) -> None:
        self.player, self.lock = player, Lock()
        super().__init__((_HOST, port), _Handler)

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://{_HOST}:{self.server_address[1]}/"


@contextmanager
def serve(player: Player, port: int) -> Iterator[PlayServer]:
    """Yield a server that listens on a port of this computer, and close it when the block ends.

    Raises:
        OptionError: if the port is in use, or not allowed.
    """
    try:
        server = PlayServer(player, port)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        why = "is in use" if error.errno == errno.EADDRINUSE else "is not allowed"
        raise OptionError(f"port {port} {why}; choose another with --port, or --port 0 for a free one") from error
    with server:
        yield server


class _Handler(BaseHTTPRequestHandler):
    server: PlayServer

    def do_GET(self) -> None:
        player, name = self.server.player, self.path.lstrip("/").partition("?")[0]
        if not self._is_local():
            return
        if name == "":
            self._send(Path(__file__).with_name("play.html").read_bytes(), "text/html; charset=utf-8")
        elif name == "model.json":
            self._json(player.description())
        elif name.removesuffix(".onnx") in player.models:
            self._send(player.models[name.removesuffix(".onnx")], "application/octet-stream")
        elif player.runtime is not None and name.removeprefix("runtime/") in RUNTIME:
            file = player.runtime / name.removeprefix("runtime/")
            self._send(file.read_bytes(), _TYPES[file.suffix])
        else:
            self._json({"error": f"there is no {name}"}, HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        if not self._is_local():
            return
        try:
            length = int(self.headers.get("Content-Length", 0))
            if length > _MOST_BYTES:
                raise OptionError(f"a request has at most {_MOST_BYTES} bytes, got {length}")
            asked = json.loads(self.rfile.read(length))
            if not isinstance(asked, dict):
                raise OptionError("a request is a JSON object")
            with self.server.lock:
                values = self.server.player.compute(self.path.lstrip("/"), asked.get("values"), asked.get("label"))
            self._json({"values": values})
        except InverseFlowError as error:
            self._json({"error": str(error)}, HTTPStatus.BAD_REQUEST)
        except ValueError as error:
            self._json({"error": f"the request is no JSON: {error}"}, HTTPStatus.BAD_REQUEST)

    def _is_local(self) -> bool:
        """Refuse a page of another site that reaches this server under a name of its own."""
        local = self.headers.get("Host", "").rpartition(":")[0] in (_HOST, "localhost")
        origin = self.headers.get("Origin")
        if local and (origin is None or origin == f"http://{self.headers['Host']}"):
            return True
        self._json({"error": "only pages of this server may ask"}, HTTPStatus.FORBIDDEN)
        return False

    def _json(self, content: Any, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(json.dumps(content).encode(), "application/json", status)

    def _send(self, body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of each request."""

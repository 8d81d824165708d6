"""A receiver of webhooks."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from pathlib import Path
from typing import Any, Dict, List, Optional

from support.outputs.parts import free_port
from support.outputs.peer import Peer


class HookPeer(Peer):
    """An HTTP server that remembers what it took."""

    name = "webhook"
    notices = False
    can_hang = True
    has_state = False

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.port = free_port()
        self.status = 200
        self.bodies: List[bytes] = []
        self.headers: List[Dict[str, str]] = []
        self.asked = 0
        self._going = threading.Event()
        self._server: Optional[http.server.ThreadingHTTPServer] = None
        self.secret = directory / "secret"
        self.secret.write_text("a secret\n")

    def settings(self) -> Dict[str, Any]:
        url = f"http://127.0.0.1:{self.port}/parts?line=7"
        return {"type": "webhook", "url": url, "secret_file": str(self.secret), "timeout_s": 0.5}

    def start(self) -> None:
        peer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                peer.asked += 1
                peer._going.wait()
                if peer._server is None:
                    self.close_connection = True  # it went meanwhile
                    return
                if peer.status < 300:
                    peer.bodies.append(body)
                    peer.headers.append(dict(self.headers))
                with contextlib.suppress(OSError):
                    self.send_response(peer.status)
                    self.send_header("Content-Length", "2")
                    self.end_headers()
                    self.wfile.write(b"ok")

            def log_message(self, *_arguments: Any) -> None:
                pass

        self._going.set()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        server, self._server = self._server, None
        self._going.set()
        if server is not None:
            server.shutdown()
            server.server_close()

    def hang(self) -> None:
        self._going.clear()

    def resume(self) -> None:
        self._going.set()

    def parts(self) -> List[Dict[str, Any]]:
        return [found for body in list(self.bodies) for found in json.loads(body)["parts"]]

    def applied(self) -> int:
        return len(self.parts())

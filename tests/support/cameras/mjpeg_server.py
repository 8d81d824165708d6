"""A camera's web server: JPEG images without end, in parts of one answer, for who knows user and password."""

from __future__ import annotations

import base64
import io
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Optional

from PIL import Image
from support.cameras.live import RATE
from support.cameras.pattern import NUMBERS, picture


def jpeg(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture(number)).save(buffer, "JPEG", quality=100, subsampling=0)
    return buffer.getvalue()


class MjpegServer:
    """Serves until `close`. `silent`: the answers begun give nothing more."""

    def __init__(self, port: int, user: str, *, tls: Optional[ssl.SSLContext] = None) -> None:
        self.port = port
        self.silent = threading.Event()
        self._stopped = threading.Event()
        images = [jpeg(number) for number in range(NUMBERS)]
        authorization = "Basic " + base64.b64encode(user.encode()).decode()
        silent, stopped = self.silent, self._stopped

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.headers["Authorization"] != authorization:
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                    self.end_headers()
                    return
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                try:
                    self._send_images()
                except OSError:
                    """The client has gone."""

            def _send_images(self) -> None:
                number = 0
                while not stopped.wait(1 / RATE):
                    if silent.is_set():
                        continue
                    image = images[number % NUMBERS]
                    number += 1
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(image)}\r\n\r\n"
                    self.wfile.write(head.encode() + image + b"\r\n")

            def log_message(self, *_: object) -> None:
                """Tests are quiet."""

        class Server(ThreadingHTTPServer):
            daemon_threads = False
            block_on_close = True

        self._server = Server(("127.0.0.1", port), Handler)
        if tls is not None:
            # The handshake belongs to the handler's thread: a client that never begins it must not stop the server.
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

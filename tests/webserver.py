"""A web server on 127.0.0.1 that answers like a camera, or like anything but a camera."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Body = tuple[str, bytes]
"""Content type and content."""


class WebServer:
    """Serves `files` by path as long as the `with` block lasts, and `images` (JPEG) for ever at /mjpeg.

    /stall sends `images` once and then nothing, without an end, /rubbish goes on with what is no image. With
    `user` it asks for Basic authentication.
    """

    def __init__(
        self,
        files: dict[str, Body] | None = None,
        images: Sequence[bytes] = (),
        *,
        fps: float = 25,
        user: str | None = None,
        password: str = "",
    ) -> None:
        self.closed = threading.Event()
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if user is not None and self.headers.get("Authorization") != f"Basic {token}":
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                elif self.path in ("/mjpeg", "/stall", "/rubbish"):
                    self._images()
                elif self.path in (files or {}):
                    self._file(*(files or {})[self.path])
                else:
                    self.send_error(404)

            def _file(self, kind: str, content: bytes) -> None:
                start = 0
                if wanted := self.headers.get("Range"):  # FFmpeg asks for "bytes=N-"
                    start = int(wanted.removeprefix("bytes=").partition("-")[0])
                    self.send_response(206)
                    self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
                else:
                    self.send_response(200)
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                self._write(content[start:])

            def _images(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                sent = images
                while not server.closed.is_set():
                    for image in sent:
                        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(image)}\r\n\r\n"
                        if not self._write(head.encode() + image + b"\r\n"):
                            return
                        time.sleep(1 / fps)
                    if self.path == "/stall":
                        server.closed.wait()
                    elif self.path == "/rubbish":
                        sent = [b"rubbish"]

            def _write(self, data: bytes) -> bool:
                try:
                    self.wfile.write(data)
                except OSError:  # the other end has gone
                    return False
                return True

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> WebServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

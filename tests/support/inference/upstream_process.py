"""An upstream for a whole installation: it refuses, and quotes what it was sent."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

_STATUS = (400, 429, 500, 0)
"""In turn; 0 hangs up."""


@contextmanager
def quoting_upstream() -> Iterator[str]:
    """The base URL of a server on loopback that answers 400, 429, 500 in turn with the key
    that it was sent, or hangs up.
    """
    numbers = count()

    class Quoting(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            said = {"error": {"message": f"cannot use {self.headers.get('authorization')}"}}
            body = json.dumps(said).encode()
            status = _STATUS[next(numbers) % len(_STATUS)]
            if not status:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Quoting)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()

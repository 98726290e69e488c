"""A tracker over HTTP (BEP 3, BEP 23) that names the seeders it was told to name, and nobody else.

Invariant: whoever asks hears at once of every seeder there is, so that no time of a download is lost by looking for peers.
"""

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from .process import PATIENCE, Failure
from .source import bencode

INTERVAL_SECONDS = 1800


class Tracker:
    """The tracker, on threads of its own."""

    def __init__(self):
        self.named = []
        self.changed = threading.Condition()
        self.seen = set()
        tracker = self

        class Handler(BaseHTTPRequestHandler):
            """Answers announces."""

            def do_GET(self):
                """Answers one."""
                query = parse_qs(urlsplit(self.path).query)
                tracker._announced(int(query["port"][0]))
                peers = b"".join(socket.inet_aton("127.0.0.1") + port.to_bytes(2, "big") for port in tracker.named)
                body = bencode({b"interval": INTERVAL_SECONDS, b"peers": peers})
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def handle(self):
                """Answers; a client that does not wait for the answer is its own affair."""
                try:
                    super().handle()
                except OSError:
                    pass

            def log_message(self, *_):
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, name="tracker", daemon=True).start()

    @property
    def announce(self):
        """Its address, as a torrent file names it."""
        return f"http://127.0.0.1:{self.server.server_address[1]}/announce"

    def _announced(self, port):
        with self.changed:
            self.seen.add(port)
            self.changed.notify_all()

    def wait_for(self, port):
        """Waits until whoever listens on that port has announced itself."""
        deadline = time.monotonic() + PATIENCE
        with self.changed:
            if not self.changed.wait_for(lambda: port in self.seen, deadline - time.monotonic()):
                raise Failure("a client does not announce itself to the tracker")

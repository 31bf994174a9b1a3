"""The two apps of the demonstration, as real processes: `python -m meshd.demo.app reviews v1` and `... storefront URL`.

Each takes a free port, or the one that a third word names, and prints it. They know nothing of the mesh: reviews is
served by its sidecar's requests, storefront asks for `http://reviews` by calling its own sidecar on localhost.
"""

import http.client
import json
import sys
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

PASSED_ON = ("proxy-status", "content-type", "x-request-id")


class App(BaseHTTPRequestHandler):
    """What both have in common."""

    protocol_version = "HTTP/1.1"

    def body(self) -> bytes:
        """The request's."""
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        """Send a whole response."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
        """Nothing: the sidecars keep the log."""


class Reviews(App):
    """Answers with its version and who is calling, and fails where it is asked to: `?once=KEY`, `?always`."""

    version = ""
    seen: ClassVar[Counter[str]] = Counter()

    def do_GET(self) -> None:  # the base class finds it by this name
        """A review; `/seen` tells how often each method and target came."""
        if self.path == "/seen":
            self.answer(200, json.dumps(self.seen).encode(), {"content-type": "application/json"})
            return
        self.serve()

    def serve(self) -> None:
        """Count, then fail or answer."""
        self.body()
        key = f"{self.command} {self.path}"
        self.seen[key] += 1
        if "always" in self.path or ("once=" in self.path and self.seen[key] == 1):
            self.answer(503, b"not this time\n")
            return
        told = {"version": self.version, "caller": self.headers.get("x-forwarded-client-cert", "")}
        self.answer(200, json.dumps(told).encode() + b"\n", {"content-type": "application/json"})

    do_POST = do_DELETE = serve  # noqa: N815


class Storefront(App):
    """Passes everything on to reviews, by way of its sidecar."""

    sidecar = ""

    def do_GET(self) -> None:
        """Ask reviews, answer what it answers."""
        connection = http.client.HTTPConnection(self.sidecar, timeout=30)
        try:
            connection.request(self.command, self.path, self.body(), {"host": "reviews"})
            response = connection.getresponse()
            kept = {name: value for name in PASSED_ON if (value := response.headers.get(name)) is not None}
            self.answer(response.status, response.read(), kept)
        except (OSError, http.client.HTTPException) as error:
            self.answer(502, f"storefront: its sidecar: {error}\n".encode())
        finally:
            connection.close()

    do_POST = do_DELETE = do_GET  # noqa: N815


def main() -> None:
    """Serve until told to end."""
    role, value = sys.argv[1:3]
    Reviews.version = Storefront.sidecar = value
    port = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    server = ThreadingHTTPServer(("127.0.0.1", port), {"reviews": Reviews, "storefront": Storefront}[role])
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()

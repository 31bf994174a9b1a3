"""An app as people write them, for `meshd run -- python app.py READY_FILE FOLDER`.

It finds its sidecar by the ready file, calls out as soon as it starts, serves on a port that it is told, and when it is
told to end calls out once more, finishes what is under way and ends with 40. Notes for the test are files in FOLDER.
"""

import http.client
import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

READY, FOLDER = Path(sys.argv[1]), Path(sys.argv[2])


def note(name, text=""):
    fresh = FOLDER / f".{name}"
    fresh.write_text(str(text))
    fresh.rename(FOLDER / name)


def call(path):
    """A request for reviews.test by way of the sidecar: its status."""
    told = json.loads(READY.read_text())
    address = next(each["address"] for each in told["listeners"] if each["direction"] == "outbound")
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.request("GET", path, headers={"host": "reviews.test"})
    status = connection.getresponse().status
    connection.close()
    return status


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        note("asked", self.path)
        while self.path == "/slow" and not (FOLDER / "go").exists():
            time.sleep(0.01)
        self.send_response(200)
        self.send_header("content-length", "4")
        self.end_headers()
        self.wfile.write(b"done")

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = False  # closing waits for requests under way


def main():
    got = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, lambda number, _: (got.append(number), note("signal", number)))
    note("first", call("/first"))
    server = Server(("127.0.0.1", int(os.environ["APP_PORT"])), Answer)
    threading.Thread(target=server.serve_forever, args=(0.01,)).start()
    note("up", os.getpid())
    while not {signal.SIGTERM, signal.SIGINT} & set(got):
        time.sleep(0.01)
    note("last", call("/last"))
    server.shutdown()
    server.server_close()
    return 40


sys.exit(main())

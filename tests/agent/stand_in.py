"""A stand-in for the real Fluent Bit that has its known faults: run as a program, it takes the same flags.

It reads from its configuration which fault to show, wherever `fault:NAME` stands in the text, and is otherwise well:

    plugin    dry run and start refuse the configuration, as for a plugin that does not exist
    killed    its dry run is ended by SIGKILL
    start     passes the dry run, and ends with an error while it starts
    late      the same, but only when it is reloaded to
    halted    starts, and refuses to be reloaded to
    bind      the same, because a port is taken
    crash     starts, and ends as soon as somebody looks how it is doing
    swallow   answers a reload with `done` and does nothing
    wedge     the same, and from then on ignores TERM
    disabled  answers a reload with `not enabled`
    mute      never serves its monitoring API
    sick      calls itself unhealthy
    lossy     gives up a record each time somebody looks
    stubborn  ignores TERM

Like the real one it answers `done` before it has read anything, goes on when the new configuration does not parse but
takes no other reload for a while then, and ends with status 255 when it parses and then cannot start.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType

BUSY_S = 0.3
REFUSED = "[error] [config] section 'nosuch' tried to instance a plugin name that doesn't exist"
FAILED = "[error] [input:tail:tail.0] no input 'path' was given\n[error] [engine] input initialization failed"
TAKEN = "[error] [input:tcp:tcp.0] could not bind address 127.0.0.1:5170. Aborting"


def say(text: str) -> None:
    for line in text.splitlines():
        print(f"[2026/11/22 10:00:00] {line}", file=sys.stderr, flush=True)


class Engine:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.reloads = 0
        self.given_up = 0
        self.is_wedged = False
        self.busy_until = 0.0
        self.fault = ""

    def read(self) -> str:
        """The fault that the configuration asks for."""
        found = re.search(r"fault:(\w+)", self.path.read_text())
        return found[1] if found else ""

    def start(self) -> None:
        self.fault = self.read()
        match self.fault:
            case "plugin":
                say(REFUSED)
                sys.exit(1)
            case "start":
                say(FAILED)
                os._exit(255)
            case "bind":
                say(TAKEN)
                os._exit(255)
        say(f"[ info] running {os.environ.get('MARK', '')}")

    def reload(self) -> None:
        time.sleep(0.02)
        fault = self.read()
        if time.monotonic() < self.busy_until:
            say("[error] reloading in progress, aborting.")
        elif fault in ("plugin", "halted"):
            say(f"{REFUSED}\n[error] [reload] reloaded config is invalid. Reloading is halted")
            self.busy_until = time.monotonic() + BUSY_S
        elif fault == "late":
            say(FAILED)
            os._exit(255)
        elif fault in ("swallow", "wedge"):
            self.is_wedged = fault == "wedge"
        else:
            self.start()
            self.reloads += 1


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    engine: Engine

    def do_GET(self) -> None:
        engine = self.engine
        if self.path == "/api/v2/reload":
            self.answer(200, {"hot_reload_count": engine.reloads})
        elif self.path == "/api/v1/uptime":
            self.answer(200, {"uptime_sec": 1})
        elif self.path == "/api/v1/health" and engine.fault == "crash":
            os._exit(3)
        elif self.path == "/api/v1/health":
            self.answer(500 if engine.fault == "sick" else 200, None)
        elif self.path == "/api/v1/metrics":
            engine.given_up += engine.fault == "lossy"
            self.answer(200, {"input": {}, "output": {"out.0": {"errors": engine.given_up, "dropped_records": 0}}})
        else:
            self.answer(404, None)

    def do_POST(self) -> None:
        if "Content-Length" not in self.headers:
            self.close_connection = True
            return
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.engine.fault == "disabled":
            self.answer(200, {"reload": "not enabled", "status": -1})
            return
        self.answer(200, {"reload": "done", "status": 0})
        threading.Thread(target=self.engine.reload).start()

    def answer(self, status: int, document: object) -> None:
        body = b"ok\n" if document is None else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("-c", type=Path)
    parser.add_argument("-J", action="store_true")
    parser.add_argument("--dry-run", action="store_true")
    options = parser.parse_args()
    if options.J:
        print(json.dumps({"fluent-bit": {"version": "5.1.1", "schema_version": "1"}, "inputs": []}))
        return 0
    engine = Engine(options.c)
    if options.dry_run:
        if engine.read() == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if engine.read() == "plugin":
            say(f"{REFUSED}\n[error] configuration file contains errors, aborting.")
            return 1
        print("configuration test is successful")
        return 0

    def on_term(number: int, frame: FrameType | None) -> None:
        if not engine.is_wedged and engine.fault != "stubborn":
            os._exit(0)

    signal.signal(signal.SIGTERM, on_term)
    engine.start()
    if engine.fault == "mute":
        signal.pause()
    port = re.search(r"http_port:? +['\"]?(\d+)", engine.path.read_text())
    assert port
    Handler.engine = engine
    server = ThreadingHTTPServer(("127.0.0.1", int(port[1])), Handler)
    server.daemon_threads = True
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())

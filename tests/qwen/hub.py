"""A hub with one repository, on loopback: as much of its HTTP interface as huggingface_hub asks for."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Owns its socket. `breaks_after` so many bytes of a file the connection ends; `ranges` are where requests began."""

    def __init__(self, repo: str, directory: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.repo = repo
        self.directory = directory
        self.breaks_after: int | None = None
        self.asked: list[str] = []
        self.ranges: list[int] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, address: Any) -> None:
        """A client that went away is no news."""


@contextlib.contextmanager
def hub(repo: str, directory: Path) -> Iterator[Hub]:
    """One that serves the files of `directory` as `repo`."""
    with Hub(repo, directory) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        try:
            yield served
        finally:
            served.shutdown()
            thread.join()


class _Request(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(path)
        if re.fullmatch(rf"/api/models/{self.server.repo}(/revision/[^/]+)?", path):
            self._send(json.dumps(self._info()).encode(), {"Content-Type": "application/json"}, body=body)
        elif found := re.fullmatch(rf"/{self.server.repo}/resolve/[^/]+/(.+)", path):
            self._file(self.server.directory / found[1], body=body)
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _info(self) -> dict[str, Any]:
        files = sorted(path for path in self.server.directory.rglob("*") if path.is_file())
        names = [
            {"rfilename": path.relative_to(self.server.directory).as_posix(), "size": path.stat().st_size}
            for path in files
        ]
        return {"id": self.server.repo, "modelId": self.server.repo, "sha": COMMIT, "siblings": names, "tags": []}

    def _file(self, path: Path, *, body: bool) -> None:
        content = path.read_bytes()
        etag = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        first = int(found[1]) if (found := re.fullmatch(r"bytes=(\d+)-\d*", self.headers.get("Range", ""))) else 0
        if body:
            self.server.ranges.append(first)
        if first:
            etag["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        self._send(content[first:], etag, body=body, status=206 if first else 200)

    def _send(self, content: bytes, headers: dict[str, str], *, body: bool, status: int = 200) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        most = self.server.breaks_after
        if body:
            self.wfile.write(content[:most])
        if body and most is not None and len(content) > most:
            self.wfile.flush()
            self.close_connection = True

"""A server on this machine that speaks Figshare's public API v2 and misbehaves on demand."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Fault = Callable[["Request"], None]


class Figshare:
    """Articles, their files, and for each file the faults of its next requests."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.articles: dict[int, dict[str, Any]] = {}
        self.files: dict[int, bytes] = {}
        self.etags: dict[int, str] = {}
        self.faults: dict[int, list[Fault | None]] = {}
        self.json_faults: list[Fault] = []
        self.page_limit = 1000
        self.requests: list[tuple[str, str]] = []
        """Path and Range of each."""
        self.sent: Counter[int] = Counter()
        """Bytes of each file that went out."""
        self.rate = float("inf")
        """Bytes/s."""

    def add(self, article: int, files: dict[str, bytes], **more: Any) -> list[int]:
        """Put an article there; file numbers in the order given."""
        table = {"id": article, "version": 1, "title": f"Data of {article}", "doi": f"10.6084/m9.figshare.{article}.v1"}
        table |= {"license": {"value": 1, "name": "CC BY 4.0", "url": "https://creativecommons.org/licenses/by/4.0/"}}
        table |= {
            "published_date": "2024-06-24T12:00:00Z",
            "url_public_html": f"https://figshare.com/articles/dataset/T/{article}",
        }
        numbers = [10 * article + n for n in range(len(files))]
        rows = []
        for number, (name, content) in zip(numbers, files.items(), strict=True):
            self.files[number] = content
            self.etags[number] = f'"{number}-1"'
            rows.append(self.row(number, name))
        self.articles[article] = table | {"rows": rows, "folder_structure": {}} | more
        return numbers

    def row(self, number: int, name: str) -> dict[str, Any]:
        content, md5 = self.files[number], hashlib.md5(self.files[number]).hexdigest()
        where = f"{self.url}/other/{number}"
        about = {"id": number, "name": name, "size": len(content), "is_link_only": False, "download_url": where}
        return about | {"supplied_md5": md5, "computed_md5": md5, "mimetype": "application/octet-stream"}


class Request(BaseHTTPRequestHandler):
    figshare: Figshare

    def do_GET(self) -> None:
        host, parts = self.figshare, urlsplit(self.path)
        host.requests.append((parts.path, self.headers.get("Range", "")))
        if found := re.fullmatch(r"/v2/articles/(\d+)(?:/versions/\d+)?(/files)?", parts.path):
            self.describe(int(found[1]), bool(found[2]), parse_qs(parts.query))
        elif found := re.fullmatch(r"/v2/file/download/(\d+)", parts.path):
            self.file(int(found[1]), redirect=True)
        elif found := re.fullmatch(r"/(?:storage|other)/(\d+)", parts.path):
            self.file(int(found[1]), redirect=False)
        else:
            self.status(404)

    def describe(self, article: int, listing: bool, query: dict[str, list[str]]) -> None:
        host = self.figshare
        if host.json_faults:
            return host.json_faults.pop(0)(self)
        if article not in host.articles:
            return self.status(404)
        table = dict(host.articles[article])
        rows = table.pop("rows")
        size = min(host.page_limit, int(query.get("page_size", ["10"])[0]))
        start = size * (int(query.get("page", ["1"])[0]) - 1)
        return self.json(rows[start : start + size] if listing else table | {"files": rows[:10]})

    def file(self, number: int, redirect: bool) -> None:
        host = self.figshare
        if number not in host.files:
            return self.status(404)
        faults = host.faults.get(number, [])
        if redirect and not (faults and getattr(faults[0], "at_api", False)):
            return self.status(302, Location=f"{host.url}/storage/{number}?signature={time.time()}")
        fault = faults.pop(0) if faults else None
        return fault(self) if fault else self.content(number)

    @property
    def number(self) -> int:
        return int(urlsplit(self.path).path.rpartition("/")[2])

    def content(self, number: int, heed: bool = True, until: int | None = None) -> None:
        """A file or a range of it, at most `until` bytes of the answer before the connection is cut."""
        host, whole = self.figshare, self.figshare.files[number]
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        begin = int(asked[1]) if asked and heed else 0
        if begin >= len(whole) > 0:
            return self.status(416, **{"Content-Range": f"bytes */{len(whole)}"})
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(whole) - 1}/{len(whole)}")
        self.send_header("ETag", host.etags[number])
        self.send_header("Content-Length", str(len(whole) - begin))
        self.end_headers()
        block = 65536 if host.rate == float("inf") else 4096
        body = whole[begin:] if until is None else whole[begin : begin + until]
        for n in range(0, len(body), block):
            self.wfile.write(body[n : n + block])
            host.sent[number] += len(body[n : n + block])
            time.sleep(block / host.rate)
        return None

    def json(self, table: Any) -> None:
        body = json.dumps(table).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def status(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


def cut(after: int) -> Fault:
    return lambda request: request.content(request.number, until=after)


def status(code: int, **headers: str) -> Fault:
    return lambda request: request.status(code, **headers)


def at_api(fault: Fault) -> Fault:
    """A fault of the API's own address, instead of the storage to which it sends."""
    fault.at_api = True  # type: ignore[attr-defined]
    return fault


def ignored_range(request: Request) -> None:
    request.content(request.number, heed=False)


def trickle(request: Request) -> None:
    """A byte now and then, which no timeout of a socket notices."""
    request.send_response(200)
    request.send_header("Content-Length", str(len(request.figshare.files[request.number])))
    request.end_headers()
    for byte in request.figshare.files[request.number][:1000]:
        request.wfile.write(bytes([byte]))
        time.sleep(0.02)


def endless(request: Request) -> None:
    """More and more, without a length."""
    request.send_response(200)
    request.end_headers()
    while True:
        request.wfile.write(b"x" * 65536)


def silent(request: Request) -> None:
    time.sleep(0.6)


def page(request: Request) -> None:
    """A page for browsers, with a status as if it were the file."""
    request.send_response(200)
    request.send_header("Content-Type", "text/html; charset=utf-8")
    request.end_headers()
    request.wfile.write(b"<html>sign in first</html>")


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # the client hung up, as it should on some


@contextmanager
def serving() -> Iterator[Figshare]:
    """The server on a free port, until the end of the block."""
    handler = type("Bound", (Request,), {})
    server = _Quiet(("127.0.0.1", 0), handler)
    figshare = Figshare(f"http://127.0.0.1:{server.server_port}")
    handler.figshare = figshare  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield figshare
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""One file over HTTP into a part that a cut, a kill or a second session goes on with, checked by MD5 at the end."""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from grannfield.data.fetch.figshare import RemoteFile
from grannfield.data.fetch.web import FetchError, Passing, Refused, Web, read_some
from grannfield.files import write_atomically

MB = 1e6


class Part:
    """What has arrived of a file: PARTS/ID.part, and beside it ID.json that says of which content."""

    def __init__(self, folder: Path, remote: RemoteFile) -> None:
        """Go on with what is there when it is of this content; otherwise it is thrown away."""
        self.path = folder / f"{remote.id}.part"
        self.note = folder / f"{remote.id}.json"
        self.remote = remote
        self.etag = ""
        folder.mkdir(parents=True, exist_ok=True)
        kept = self._kept()
        if kept.get("size") == remote.size and kept.get("md5") == remote.md5 and self.path.is_file():
            self.etag = str(kept.get("etag", ""))
            self.size = self.path.stat().st_size
        else:
            self.restart("")
        if self.size > remote.size:
            self.restart("")

    def restart(self, etag: str) -> None:
        """Throw away what there is; the content to come carries this entity tag."""
        self.path.unlink(missing_ok=True)
        self.etag, self.size = etag, 0
        about = {"name": self.remote.name, "size": self.remote.size, "md5": self.remote.md5, "etag": etag}
        write_atomically(self.note, json.dumps(about, indent=1))
        self.path.touch()

    def forget(self) -> None:
        """Nothing is left of it."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def _kept(self) -> dict[str, Any]:
        try:
            found = json.loads(self.note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def kept_size(folder: Path, remote: RemoteFile) -> int:
    """Bytes of a file that a part holds already, without touching it."""
    part, note = folder / f"{remote.id}.part", folder / f"{remote.id}.json"
    try:
        about = json.loads(note.read_text(encoding="utf-8"))
        return min(part.stat().st_size, remote.size) if (about["size"], about["md5"]) == (remote.size, remote.md5) else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def download(web: Web, remote: RemoteFile, target: Path, parts: Path, moved: Callable[[float], None]) -> str:
    """Bring a file to `target`, in one piece or not at all, and return its MD5.

    `moved` is told MB as they arrive, negative when they are thrown away. A wrong MD5 is fetched once more; the second
    wrong one is set aside as PARTS/ID.wrong and raises FetchError. So does whatever patience does not mend.
    """
    part = Part(parts, remote)
    try:
        for again in (False, True):
            _complete(web, part, moved)
            found = md5_of_file(part.path)
            if not remote.md5 or found == remote.md5:
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(part.path, target)
                part.forget()
                return found
            if again:
                break
            web.tell(f"{remote.name}: MD5 {found}, Figshare says {remote.md5}; fetching it once more")
            moved(-part.size / MB)
            part.restart("")
        wrong = part.path.with_suffix(".wrong")
        os.replace(part.path, wrong)
        part.forget()
    except OSError as problem:
        raise FetchError(_disk(problem, parts)) from problem
    raise FetchError(
        f"{remote.name}: MD5 {found} twice, but Figshare says {remote.md5}; the file is set aside as {wrong}. If a browser "
        f"brings the same one, Figshare's list is wrong: tell its authors"
    )


def md5_of_file(path: Path) -> str:
    """MD5 of a file's bytes, 32 hexadecimal digits; a checksum against damage, not against intent."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _complete(web: Web, part: Part, moved: Callable[[float], None]) -> None:
    """Request what is missing until nothing is; the next address where one refuses."""
    urls, failed = list(part.remote.urls), 0
    while part.size < part.remote.size:
        before = part.size
        try:
            _stretch(web, part, urls[0], moved)
        except Passing as problem:
            if part.size - before > part.remote.size // 100:
                failed = 0  # a connection that breaks but brings something is worth going on with
            failed = web.wait(problem, failed)
        except Refused as problem:
            urls.pop(0)
            if not urls:
                raise _final(problem, part.remote) from None


def _final(problem: Refused, remote: RemoteFile) -> FetchError:
    if problem.status in (404, 410):
        return Refused(f"{remote.name}: {problem}; the article may have a new version: `--list` shows it", problem.status)
    return Refused(f"{remote.name}: {problem}; what a browser brings is taken too, when put into the files folder by hand")


def _stretch(web: Web, part: Part, url: str, moved: Callable[[float], None]) -> None:
    """One request for all that is missing; Passing when it ends too soon."""
    asked = part.size
    try:
        answer = web.open(url, {"Range": f"bytes={asked}-"} if asked else {})
    except Refused as problem:
        if problem.status != 416:
            raise
        moved(-asked / MB)
        part.restart("")
        raise Passing(f"{part.remote.name}: the server refuses to go on from {asked / MB:.1f} MB; from the beginning") from None
    with answer:
        _check(answer, part)
        etag = answer.headers.get("ETag", "")
        begins = _beginning(answer, part)
        if begins and part.etag and etag and etag != part.etag:
            moved(-asked / MB)
            part.restart("")
            raise Passing(f"{part.remote.name}: the file changed at the server; from the beginning")
        if begins == 0:  # also where a range was asked for and not heeded
            moved(-asked / MB)
            part.restart(etag)
        _read(web, answer, part, moved)
    if part.size < part.remote.size:
        raise Passing(f"{part.remote.name}: connection cut at {part.size / MB:.1f} of {part.remote.size / MB:.1f} MB")


def _check(answer: http.client.HTTPResponse, part: Part) -> None:
    """Refuse an answer that is not the file: a riddle for browsers, a page that explains, another size."""
    name, size = part.remote.name, part.remote.size
    if answer.status not in (200, 206):
        riddle = answer.headers.get("x-amzn-waf-action", "")
        raise Refused(f"{answer.url.partition('?')[0]} is kept from programs (HTTP {answer.status} {riddle})", answer.status)
    length, kind = answer.headers.get("Content-Length", ""), answer.headers.get("Content-Type", "unknown type")
    if answer.status == 200 and length.isdigit() and int(length) != size:
        raise Refused(f"the server sends {length} bytes ({kind}), Figshare's list says {size}")
    if kind.startswith("text/html") and not name.lower().endswith((".html", ".htm")):
        raise Refused("the server sends a web page instead of the file")


def _beginning(answer: http.client.HTTPResponse, part: Part) -> int:
    """The byte with which an answer begins."""
    if answer.status == 200:
        return 0
    text = answer.headers.get("Content-Range", "")
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", text.strip())
    if not found or int(found[1]) != part.size:
        raise Refused(f"{part.remote.name}: asked for bytes from {part.size}, the server sends {text or 'an unnamed range'!r}")
    if found[2] not in ("*", str(part.remote.size)):
        raise Refused(f"{part.remote.name} has {found[2]} bytes at the server, Figshare's list says {part.remote.size}")
    return int(found[1])


def _read(web: Web, answer: http.client.HTTPResponse, part: Part, moved: Callable[[float], None]) -> None:
    """Append what arrives to the part, byte for byte on disk, until the end, a cut, or a trickle."""
    patience = web.patience
    since, then = time.monotonic(), part.size
    with open(part.path, "ab", buffering=0) as file:
        while chunk := read_some(answer, part.remote.name):
            if part.size + len(chunk) > part.remote.size:
                raise Refused(f"{part.remote.name}: the server sends more than the {part.remote.size} bytes of Figshare's list")
            _write(file, chunk)
            part.size += len(chunk)
            moved(len(chunk) / MB)
            if (passed := time.monotonic() - since) > patience.window_s:
                if part.size - then < patience.slowest * passed:
                    raise Passing(f"{part.remote.name}: only {part.size - then} bytes in {passed:.0f} s")
                since, then = time.monotonic(), part.size


def _write(file: Any, chunk: bytes) -> None:
    """All of a chunk: a raw file may take only a part of it."""
    view = memoryview(chunk)
    while view:
        view = view[file.write(view) :]


def _disk(problem: OSError, folder: Path) -> str:
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk of {folder} is full ({problem.strerror}); make room and run the same command again: it goes on"
    return f"{problem.filename or folder} cannot be written ({problem.strerror or problem}); mend that and run the command again"

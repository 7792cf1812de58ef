"""An article of Figshare as a folder: files/ whole and checked, unpacked/, and manifest.json that says what they are."""

from __future__ import annotations

import fnmatch
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from grannfield.data.fetch.download import MB, download, kept_size, md5_of_file
from grannfield.data.fetch.figshare import Article, RemoteFile
from grannfield.data.fetch.unpack import Limits, Unpacked, is_archive, is_foreign, unpack
from grannfield.data.fetch.web import FetchError, Web
from grannfield.files import locked, write_atomically
from grannfield.progress import progress


@dataclass(frozen=True)
class Place:
    """The folder of one article."""

    folder: Path

    @property
    def files(self) -> Path:
        return self.folder / "files"

    @property
    def parts(self) -> Path:
        return self.folder / "parts"

    @property
    def unpacked(self) -> Path:
        return self.folder / "unpacked"

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest.json"

    def known(self) -> dict[str, dict[str, Any]]:
        """What the manifest says of each file, by name; nothing where there is none or it is damaged."""
        try:
            rows = json.loads(self.manifest.read_text(encoding="utf-8"))["files"]
            return {row["name"]: row for row in rows}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def is_whole(self, remote: RemoteFile, hashing: bool = True) -> bool:
        """Whether the file is there as Figshare lists it; one not hashed since it last changed is hashed, unless told not to."""
        path = self.files / remote.name
        if not path.is_file() or path.stat().st_size != remote.size:
            return False
        row = self.known().get(remote.name, {})
        if row.get("checked_at") == path.stat().st_mtime_ns and row.get("md5") == (remote.md5 or row.get("md5")):
            return True
        return not hashing or not remote.md5 or md5_of_file(path) == remote.md5

    def state(self, remote: RemoteFile) -> str:
        """Where a file stands, in a word."""
        if remote.link_only:
            return "a link: fetch it by hand"
        if self.is_whole(remote, hashing=False):
            return "here"
        kept = kept_size(self.parts, remote)
        return f"{kept / remote.size:.0%} here" if kept else "not here"


class NoFile(FetchError):
    """An article holds no file of the kind asked for."""


def chosen(files: Sequence[RemoteFile], patterns: Sequence[str]) -> list[RemoteFile]:
    """Files whose path or name fits one of the patterns (all without a pattern); NoFile when none does."""
    fits = lambda name, one: fnmatch.fnmatchcase(name, one) or fnmatch.fnmatchcase(name.rpartition("/")[2], one)  # noqa: E731
    found = [file for file in files if not patterns or any(fits(file.name, one) for one in patterns)]
    if not found:
        there = ", ".join(file.name for file in files[:20]) or "none"
        raise NoFile(f"no file fits --only {' '.join(patterns) or '*'}; there are: {there}")
    return found


def fetch(
    web: Web, article: Article, folder: Path, patterns: Sequence[str] = (), unpacking: bool = True, limits: Limits | None = None
) -> list[Path]:
    """Bring an article's files into a folder, go on where an earlier call stopped, and return what is to be read there.

    FolderBusy when another process is at it; FetchError, after all other files, when some could not be had.
    """
    limits, place = limits or Limits(), Place(folder)
    files = [file for file in chosen(article.files, patterns) if not file.link_only]
    for link in set(chosen(article.files, patterns)) - set(files):
        web.tell(f"{link.name} is not at Figshare but a link: {' '.join(link.urls)}")
    with locked(folder):
        missing = [file for file in files if not place.is_whole(file)]
        _check_disk(place, missing, files, unpacking, limits)
        rows = place.known()
        keep = lambda: _write_manifest(place, article, rows, web.base)  # noqa: E731
        problems = _download_all(web, place, missing, rows, keep, article.id)
        for file in set(files) - set(missing):
            _note(place, file, rows)  # put there by hand and found right, or touched since
        keep()
        if unpacking:
            problems += _unpack_all(web, place, files, rows, keep, limits)
        keep()
    if problems:
        raise FetchError(f"{len(problems)} of {len(files)} files: " + "; ".join(problems))
    return [path for file in files for path in _readable(place, file, rows)]


def _download_all(
    web: Web, place: Place, missing: Sequence[RemoteFile], rows: dict[str, Any], keep: Callable[[], None], number: int
) -> list[str]:
    """Why some files could not be had; the others are whole, and noted as soon as they are."""
    problems = []
    kept = {file.id: kept_size(place.parts, file) for file in missing}
    total = sum(file.size for file in missing) / MB
    with progress(max(total, 1e-6), f"figshare {number}", "MB") as bar:
        bar.update(sum(kept.values()) / MB)
        for file in missing:
            bar.set_postfix_str(file.name)
            try:
                _set_aside(web, place.files / file.name)
                md5 = download(web, file, place.files / file.name, place.parts, bar.update)
            except FetchError as problem:
                problems.append(str(problem))
                continue
            _note(place, file, rows, md5)
            keep()
    if place.parts.is_dir() and not any(place.parts.iterdir()):
        place.parts.rmdir()
    return problems


def _set_aside(web: Web, path: Path) -> None:
    """A file of another content that stands where one is to come is kept under another name."""
    if path.exists():
        aside = path.with_name(f"{path.name}.before-{md5_of_file(path)[:8]}" if path.is_file() else f"{path.name}.before")
        os.replace(path, aside)
        web.tell(f"{path} is not what Figshare has now; it is kept as {aside.name}")


def _note(place: Place, file: RemoteFile, rows: dict[str, Any], md5: str = "") -> None:
    """What the manifest says of a whole file; what it said of an unpacked folder stays where the content does."""
    path = place.files / file.name
    md5 = md5 or file.md5 or md5_of_file(path)
    row = {"name": file.name, "id": file.id, "size": file.size, "md5": md5, "checked": "MD5" if file.md5 else "size alone"}
    row["fetched"] = datetime.now(UTC).isoformat(timespec="seconds")
    old = rows.get(file.name, {})
    same = {key: old[key] for key in ("fetched", "unpacked") if key in old and old["md5"] == md5}
    rows[file.name] = row | same | {"checked_at": path.stat().st_mtime_ns}


def _unpack_all(
    web: Web, place: Place, files: Sequence[RemoteFile], rows: dict[str, Any], keep: Callable[[], None], limits: Limits
) -> list[str]:
    """Why some archives could not be unpacked; the others are folders under unpacked/."""
    problems = []
    for file in files:
        if is_foreign(file.name):
            web.tell(f"{file.name} is of a kind that Python cannot unpack; do it by hand")
        row = rows.get(file.name)
        if row is None or not is_archive(file.name):
            continue
        target = place.unpacked / file.name
        if row.get("unpacked", {}).get("md5") == row["md5"] and target.is_dir():
            continue
        try:
            found = _unpack_one(web, place, file, row, keep, limits)
        except FetchError as problem:
            problems.append(str(problem))
            continue
        if found.nested:
            web.tell(f"{target} holds archives, left packed: {', '.join(found.nested[:5])}{' ...' * (len(found.nested) > 5)}")
    return problems


def _unpack_one(
    web: Web, place: Place, file: RemoteFile, row: dict[str, Any], keep: Callable[[], None], limits: Limits
) -> Unpacked:
    """Unpack beside the target and rename: the folder of that name is always whole."""
    target, making = place.unpacked / file.name, place.unpacked / f".{file.id}"
    making.parent.mkdir(parents=True, exist_ok=True)
    if making.exists():  # an earlier attempt was killed
        shutil.rmtree(making)
    with progress(file.size / MB, f"unpacking {file.name}", "MB") as bar:
        found = unpack(place.files / file.name, making, bar.update, limits)
    if target.exists():
        os.replace(target, _free_name(target))
        web.tell(f"{target} was of another content; it is kept as {target.name}.before")
    row["unpacked"] = {"md5": row["md5"], "files": found.files, "bytes": found.bytes}
    keep()  # before the rename: with the note but without the folder it is unpacked again
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(making, target)
    return found


def _free_name(path: Path) -> Path:
    """`NAME.before`, or with the first number that is free."""
    names = (path.with_name(f"{path.name}.before{n or ''}") for n in range(1_000_000))
    return next(name for name in names if not name.exists())


def _check_disk(
    place: Place, missing: Sequence[RemoteFile], files: Sequence[RemoteFile], unpacking: bool, limits: Limits
) -> None:
    """Refuse to begin what cannot end; unpacked, an archive is taken to be at least as large as packed."""
    bring = sum(file.size - kept_size(place.parts, file) for file in missing)
    waiting = [file for file in files if unpacking and is_archive(file.name) and not (place.unpacked / file.name).is_dir()]
    room = sum(file.size for file in waiting)
    free = shutil.disk_usage(place.folder).free
    if bring + room + limits.reserve > free:
        unpacked = f" and at least {room / MB:.0f} MB to unpack" if room else ""
        raise FetchError(
            f"{place.folder} has {free / MB:.0f} MB free, but {bring / MB:.0f} MB are to come{unpacked}, and "
            f"{limits.reserve / MB:.0f} MB should stay free; make room, name another disk with --out, fewer files with --only"
            f"{', or --no-unpack' if room else ''}"
        )


def _write_manifest(place: Place, article: Article, rows: dict[str, Any], api: str) -> None:
    about = {
        "article": article.id,
        "version": article.version,
        "title": article.title,
        "doi": article.doi,
        "licence": article.licence,
        "licence_url": article.licence_url,
        "published": article.published,
        "url": article.url,
        "api": api,
        "files": [rows[name] for name in sorted(rows)],
    }
    write_atomically(place.manifest, json.dumps(about, indent=1) + "\n")


def _readable(place: Place, file: RemoteFile, rows: dict[str, Any]) -> list[Path]:
    """Where a file's content is to be read."""
    folder = place.unpacked / file.name
    return [folder] if "unpacked" in rows[file.name] and folder.is_dir() else [place.files / file.name]

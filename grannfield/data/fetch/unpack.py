"""Archives from strangers, unpacked into a folder of their own or refused as a whole."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import shutil
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from grannfield.data.fetch.web import FetchError

TAR = {".tar": None, ".tar.gz": gzip, ".tgz": gzip, ".tar.bz2": bz2, ".tbz2": bz2, ".tar.xz": lzma, ".txz": lzma}
CANNOT = (".7z", ".rar", ".tar.zst", ".tzst", ".tar.lz4", ".tar.z")
MB = 1e6
BLOCK = 1024**2


class UnsafeArchive(FetchError):
    """An archive that would write where it should not, or more than it should."""


@dataclass(frozen=True)
class Limits:
    """Beyond which an archive is taken for a bomb."""

    ratio: float = 200.0
    """Unpacked to packed bytes, once more than `harmless` bytes come out; text of coordinates packs 2 to 10 times."""
    harmless: int = 100 * 1000**2
    files: int = 200_000
    reserve: int = 200 * 1000**2
    """Bytes of the disk that are left free."""


def is_archive(name: str) -> bool:
    """Whether `unpack` takes a file of this name.

    >>> is_archive("runs.TAR.GZ"), is_archive("XDATCAR.gz"), is_archive("runs.7z")
    (True, False, False)
    """
    return name.lower().endswith((".zip", *TAR))


def is_foreign(name: str) -> bool:
    """Whether a file is an archive of a kind that Python cannot read."""
    return name.lower().endswith(CANNOT)


@dataclass
class _Quota:
    """What has come out of one archive so far, and what may."""

    archive: Path
    limits: Limits
    free: int
    packed: int
    out: int = 0
    files: int = 0
    taken: dict[str, bool] = field(default_factory=dict)
    """Paths there are, as a file system without case sees them; whether each is a folder."""

    def count(self, n_bytes: int) -> None:
        self.out += n_bytes
        if self.out > self.limits.harmless and self.out > self.limits.ratio * self.packed:
            raise UnsafeArchive(
                f"{self.archive.name} unpacks to more than {self.limits.ratio:g} times its {self.packed / MB:.1f} MB: a bomb? "
                "It is kept packed"
            )
        if self.out > self.free - self.limits.reserve:
            raise FetchError(
                f"{self.archive.name} unpacks to more than the {self.free / MB:.0f} MB free there; make room and run the same "
                "command again, or keep it packed with --no-unpack"
            )

    def path(self, name: str, folder: bool) -> str:
        """The relative path of a member, found harmless and not taken."""
        plain = name.replace("\\", "/")
        parts = [part for part in plain.split("/") if part not in ("", ".")]
        if plain.startswith("/") or re.match("[A-Za-z]:", plain) or ".." in parts or re.search(r"[\x00-\x1f]", plain):
            raise UnsafeArchive(f"{self.archive.name} holds {name!r}, a path out of its folder; it is kept packed")
        for n in range(1, len(parts)):
            self._take("/".join(parts[:n]), True, name)
        if parts:
            self._take("/".join(parts), folder, name)
        if not folder:
            self.files += 1
            if not parts:
                raise UnsafeArchive(f"{self.archive.name} holds a file without a name; it is kept packed")
            if self.files > self.limits.files:
                raise UnsafeArchive(f"{self.archive.name} holds more than {self.limits.files} files; it is kept packed")
        return "/".join(parts)

    def _take(self, path: str, folder: bool, name: str) -> None:
        key = unicodedata.normalize("NFC", path).casefold()
        if key in self.taken and not (folder and self.taken[key]):
            raise UnsafeArchive(f"{self.archive.name} holds {name!r} twice, or differing in case alone; it is kept packed")
        self.taken[key] = folder


@dataclass(frozen=True)
class Unpacked:
    """What came out of an archive."""

    files: int
    bytes: int
    nested: tuple[str, ...]
    """Archives inside, which are not unpacked."""


def unpack(
    archive: Path, folder: Path, moved: Callable[[float], None] = lambda mb: None, limits: Limits | None = None
) -> Unpacked:
    """Unpack a zip or tar archive into a new folder; on any error the folder is removed again.

    Only plain files and folders come out, with default permissions. Refused, with UnsafeArchive: paths that lead out,
    links, devices, encrypted members, two members of one path (in a file system that knows no case), more bytes or files
    than the limits. FetchError for a damaged archive or a full disk. `moved` is told MB unpacked.
    """
    free = shutil.disk_usage(folder.parent).free
    quota = _Quota(archive, limits or Limits(), free, archive.stat().st_size)
    folder.mkdir()
    try:
        nested = []
        for name, content in _members(archive, quota):
            target = folder / name
            if content is None:
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with content, open(target, "xb") as file:
                while block := content.read(BLOCK):
                    quota.count(len(block))
                    file.write(block)
                    moved(len(block) / MB)
            if is_archive(name) or is_foreign(name):
                nested.append(name)
    except (zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, NotImplementedError) as problem:
        shutil.rmtree(folder)
        raise FetchError(f"{archive} cannot be unpacked: {problem or type(problem).__name__}; it is kept packed") from problem
    except BaseException as problem:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(problem, OSError):
            raise FetchError(f"{archive} cannot be unpacked into {folder.parent}: {problem.strerror or problem}") from problem
        raise
    return Unpacked(quota.files, quota.out, tuple(nested))


def _members(archive: Path, quota: _Quota) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Checked path and content of every member; None for a folder."""
    if archive.name.lower().endswith(".zip"):
        yield from _zip_members(archive, quota)
    else:
        yield from _tar_members(archive, quota)


def _zip_members(archive: Path, quota: _Quota) -> Iterator[tuple[str, IO[bytes] | None]]:
    """All names and declared sizes are checked before the first byte comes out."""
    with zipfile.ZipFile(archive) as opened:
        plan = []
        for member in opened.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise UnsafeArchive(f"{archive.name} holds {member.filename!r}, a link or device; it is kept packed")
            if member.flag_bits & 1:
                raise FetchError(f"{archive.name} is encrypted; unpack it by hand")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # the others read ahead without a bound
                raise FetchError(f"{archive.name} is packed by a method that is not unpacked here; use unzip or 7z by hand")
            folder = member.is_dir() or kind == stat.S_IFDIR
            plan.append((quota.path(member.orig_filename, folder), None if folder else member))
            quota.count(member.file_size)
        quota.out = 0
        for name, found in plan:
            yield name, None if found is None else opened.open(found)


def _tar_members(archive: Path, quota: _Quota) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Read in one pass, decompressed bytes counted as they come: headers too can be bombs."""
    suffix = next(suffix for suffix in sorted(TAR, key=len, reverse=True) if archive.name.lower().endswith(suffix))
    packing: Any = TAR[suffix]
    with open(archive, "rb") if packing is None else packing.open(archive, "rb") as plain:
        stream: Any = _Counted(plain, quota)
        with tarfile.open(fileobj=stream, mode="r|") as opened:
            for member in opened:
                if not (member.isreg() or member.isdir()) or member.issparse():
                    raise UnsafeArchive(f"{archive.name} holds {member.name!r}, a link, device or hole; it is kept packed")
                yield quota.path(member.name, member.isdir()), None if member.isdir() else opened.extractfile(member)


class _Counted:
    """A stream of decompressed bytes that stops where a bomb would begin."""

    def __init__(self, stream: IO[bytes], quota: _Quota) -> None:
        self.stream = stream
        self.quota = _Quota(quota.archive, quota.limits, quota.free, quota.packed)

    def read(self, size: int) -> bytes:
        block = self.stream.read(size)
        self.quota.count(len(block))
        return block

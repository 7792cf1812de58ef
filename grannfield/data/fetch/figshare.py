"""Articles and their files as Figshare's public API v2 describes them (https://docs.figshare.com)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from grannfield.data.fetch.web import FetchError, Refused, Web

API = "https://api.figshare.com/v2"
PAPER = {26089474: "AIMD", 26089486: "trajectories of the machine-learned force fields"}
"""The articles that belong to Digital Discovery 3, 2177 (2024)."""
PAGE = 100


@dataclass(frozen=True)
class RemoteFile:
    """A file of an article."""

    id: int
    name: str
    """Path below the article's folder, safe to write to: no `..`, not absolute, unlike every other in upper or lower case."""
    size: int
    md5: str
    """Empty where Figshare gives none."""
    urls: tuple[str, ...]
    """Where it is to be had, best first."""
    link_only: bool
    """Not at Figshare: the address is all there is."""


@dataclass(frozen=True)
class Article:
    """One public article, in one of its versions."""

    id: int
    version: int
    title: str
    doi: str
    licence: str
    licence_url: str
    published: str
    url: str
    files: tuple[RemoteFile, ...]


def article_number(text: str) -> tuple[int, int]:
    """Number and version (0: the latest) from a number, a DOI or the address of an article; ValueError for anything else.

    >>> article_number("26089474"), article_number("10.6084/m9.figshare.26089474.v2")
    ((26089474, 0), (26089474, 2))
    >>> article_number("https://figshare.com/articles/dataset/AIMD_runs/26089474/3?file=1")
    (26089474, 3)
    """
    plain = re.split(r"[?#]", text.strip())[0].rstrip("/")
    if re.search(r"figshare\.c\.\d+|/collections/", plain):
        raise ValueError(f"{text!r} is a collection; name the articles in it")
    shapes = (
        r"(\d+)(?:\.v(\d+))?",
        r".*figshare\.(\d+)(?:\.v(\d+))?",
        r"https?://[^/]+/articles/(?:[^/]+/)*?(\d{4,})(?:/(\d+))?",
    )
    for shape in shapes:
        if found := re.fullmatch(shape, plain):
            return int(found[1]), int(found[2] or 0)
    raise ValueError(
        f"{text!r} is no article of Figshare; give its number (26089474), its DOI (10.6084/m9.figshare.26089474) or its address"
    )


def read_article(web: Web, number: int, version: int = 0) -> Article:
    """What the API says of an article and all its files; Refused where there is no such public article."""
    path = f"articles/{number}" + (f"/versions/{version}" if version else "")
    try:
        table = web.json(path)
    except Refused as problem:
        if problem.status in (400, 404):
            which = f"version {version} of article" if version else "public article"
            raise Refused(f"Figshare has no {which} {number} ({web.base}/{path}: HTTP {problem.status}); check it", 404) from None
        raise
    about = f"{web.base}/{path}"
    if _entry(table, "download_disabled", bool, about, False) or _entry(table, "is_embargoed", bool, about, False):
        raise Refused(
            f"article {number} is under embargo or its files are closed: {table.get('embargo_reason') or 'no reason given'}"
        )
    licence = _entry(table, "license", dict, about, {})
    return Article(
        id=_entry(table, "id", int, about),
        version=_entry(table, "version", int, about, version),
        title=_entry(table, "title", str, about, ""),
        doi=_entry(table, "doi", str, about, ""),
        licence=str(licence.get("name", "")),
        licence_url=str(licence.get("url", "")),
        published=_entry(table, "published_date", str, about, ""),
        url=_entry(table, "url_public_html", str, about, ""),
        files=_files(web, path, table),
    )


def _files(web: Web, path: str, table: Mapping[str, Any]) -> tuple[RemoteFile, ...]:
    """All files: the article itself lists no more than ten."""
    listed: dict[int, dict[str, Any]] = {}
    where = f"{web.base}/{path}/files"
    for page in range(1, 10_000):
        rows = web.json(f"{path}/files", page=page, page_size=PAGE)
        if not isinstance(rows, list):
            raise FetchError(f"{where} should be a list, it is a {type(rows).__name__}")
        new = {_entry(row, "id", int, where): row for row in rows}
        if not new.keys() - listed.keys():
            break  # also where a server knows no pages and always gives the whole list
        listed |= new
    folders = _entry(table, "folder_structure", dict, where, {})
    files = [_file(web, row, str(folders.get(str(number), "")), where) for number, row in listed.items()]
    return tuple(sorted(_distinct(files), key=lambda file: file.name))


def _file(web: Web, row: Mapping[str, Any], folder: str, where: str) -> RemoteFile:
    number, size = _entry(row, "id", int, where), _entry(row, "size", int, where)
    md5 = (_entry(row, "computed_md5", str, where, "") or _entry(row, "supplied_md5", str, where, "")).lower()
    if size < 0 or (md5 and not re.fullmatch("[0-9a-f]{32}", md5)):
        raise FetchError(f"{where}: file {number} has size {size} and MD5 {md5!r}, which cannot be")
    link = _entry(row, "is_link_only", bool, where, False)
    given = _entry(row, "download_url", str, where, "")
    # The address that the list gives may answer programs with a riddle for browsers (HTTP 202, empty); the API's own does not.
    urls = (given,) if link else tuple(filter(None, (f"{web.base}/file/download/{number}", given)))
    return RemoteFile(number, _safe(folder, _entry(row, "name", str, where), number), size, md5, urls, link)


def _safe(folder: str, name: str, number: int) -> str:
    """A relative path whose every part is a plain name.

    >>> _safe("runs/LGPS", "a b.xyz", 7), _safe("../..", "/etc/passwd", 7), _safe("", "..", 7)
    ('runs/LGPS/a b.xyz', '_etc_passwd', 'file-7')
    """
    plain = lambda part: re.sub(r"[\x00-\x1f\x7f/\\:]", "_", part).strip()  # noqa: E731
    parts = [plain(part) for part in re.split(r"[/\\]", folder)]
    last = plain(name)
    if not last.strip("._ "):
        last = f"file-{number}"
    return "/".join([*(part for part in parts if part.strip(". ")), last])


def _distinct(files: list[RemoteFile]) -> list[RemoteFile]:
    """Files of one name (in a file system that knows no case) told apart by their numbers."""
    count = Counter(file.name.casefold() for file in files)
    folders = {"/".join(parts[:n]) for parts in (name.split("/") for name in count) for n in range(1, len(parts))}
    found = []
    for file in files:
        folder, slash, name = file.name.rpartition("/")
        clash = count[file.name.casefold()] > 1 or file.name.casefold() in folders
        found.append(replace(file, name=f"{folder}{slash}{file.id}-{name}") if clash else file)
    return found


def _entry(table: object, key: str, kind: type, where: str, default: Any = None) -> Any:
    """One entry of an answer, of the type that the API documents; FetchError when it is not."""
    value = table.get(key, default) if isinstance(table, dict) else default
    value = default if value is None else value
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise FetchError(f"{where} does not answer as Figshare's API v2 does: {key!r} = {value!r}; is that address right?")
    return value

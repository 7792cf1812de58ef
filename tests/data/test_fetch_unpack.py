"""Archives from strangers: what comes out, what is refused, what a kill or a damaged byte leaves behind."""

from __future__ import annotations

import io
import json
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from grannfield.data.fetch import article as article_module
from grannfield.data.fetch.article import fetch
from grannfield.data.fetch.figshare import read_article
from grannfield.data.fetch.unpack import Limits, unpack
from grannfield.data.fetch.web import FetchError, Web
from tests.figshare_server import Figshare, serving

LIMITS = Limits(ratio=20, harmless=1_000_000, files=50, reserve=0)
TEXT = b"Li 0.0 0.0 0.0\n" * 1000
MODES = {"tar": "w", "tar.gz": "w:gz", "tgz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, target
    return info


def tarred(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, MODES[path.name.partition(".")[2]]) as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def out(archive: Path) -> dict[str, bytes]:
    folder = archive.parent / "out"
    unpack(archive, folder, lambda mb: None, LIMITS)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(archive: Path, message: str) -> None:
    folder, before = archive.parent / "out", set(archive.parent.rglob("*"))
    with pytest.raises(FetchError, match=message):
        unpack(archive, folder, lambda mb: None, LIMITS)
    assert set(archive.parent.rglob("*")) == before


@pytest.mark.parametrize("kind", ["zip", *MODES])
def test_what_was_packed_comes_out(tmp_path: Path, kind: str) -> None:
    files = {"runs/LGPS/XDATCAR": TEXT, "./readme.txt": b"see runs", "inner.zip": b"PK"}
    path = tmp_path / f"a.{kind}"
    if kind == "zip":
        zipped(path, {"runs/": b"", "windows\\style.txt": b"x"} | files)
    else:
        folder = member("runs", tarfile.DIRTYPE)
        script = member("windows/style.txt")
        script.mode = 0o777
        tarred(path, (folder, b""), (script, b"x"), *((member(name), content) for name, content in files.items()))
    assert out(path) == {"runs/LGPS/XDATCAR": TEXT, "readme.txt": b"see runs", "inner.zip": b"PK", "windows/style.txt": b"x"}
    assert not (tmp_path / "out/windows/style.txt").stat().st_mode & stat.S_IXUSR


@pytest.mark.parametrize("name", ["../out.txt", "a/../../out.txt", "/tmp/out.txt", "C:\\out.txt", "..\\out.txt", "a\nb"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_no_path_leads_out(tmp_path: Path, name: str, kind: str) -> None:
    files = {"good.txt": TEXT, name: b"bad"}
    path = tmp_path / f"a.{kind}"
    made = zipped(path, files) if kind == "zip" else tarred(path, *((member(n), c) for n, c in files.items()))
    refused(made, "a path out of its folder; it is kept packed")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_no_link_or_device_comes_out_of_a_tar(tmp_path: Path, kind: bytes) -> None:
    refused(tarred(tmp_path / "a.tar.gz", (member("x", kind, target="/etc/passwd"), b"")), "holds 'x', a link, device or hole")


def test_no_link_comes_out_of_a_zip(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("x")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    refused(tmp_path / "a.zip", "holds 'x', a link or device")


@pytest.mark.parametrize("names", [("a.txt", "A.TXT"), ("a", "a/b"), ("a/b", "a"), ("\u00e9", "e\u0301"), ("a/B/x", "a/b")])
def test_no_member_writes_over_another(tmp_path: Path, names: tuple[str, str]) -> None:
    refused(tarred(tmp_path / "a.tar", *((member(name), b"x") for name in names)), "twice, or differing in case alone")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_no_member_of_a_zip_writes_over_another(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x", b"1")
        archive.writestr("x", b"2")
    refused(tmp_path / "a.zip", "holds 'x' twice")


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.xz"])
def test_a_bomb_does_not_go_off(tmp_path: Path, kind: str) -> None:
    path, content = tmp_path / f"a.{kind}", bytes(5_000_000)
    made = zipped(path, {"zeros": content}) if kind == "zip" else tarred(path, (member("zeros"), content))
    refused(made, r"unpacks to more than 20 times its 0\.0 MB: a bomb\?")


def test_a_zip_that_lies_about_its_size_is_found_out(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"zeros": bytes(5_000_000)})
    raw = path.read_bytes()
    path.write_bytes(raw.replace((5_000_000).to_bytes(4, "little"), (500).to_bytes(4, "little")))
    refused(path, "cannot be unpacked: Bad CRC-32")


def test_a_million_little_files_are_too_many(tmp_path: Path) -> None:
    refused(zipped(tmp_path / "a.zip", {str(n): b"" for n in range(51)}), "holds more than 50 files")


def test_an_archive_larger_than_the_disk_stays_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        free = 10_000

    monkeypatch.setattr("grannfield.data.fetch.unpack.shutil.disk_usage", lambda path: Full)
    refused(zipped(tmp_path / "a.zip", {"x": TEXT}), "unpacks to more than the 0 MB free there; make room")


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.bz2", "tar.xz"])
def test_a_damaged_archive_is_named(tmp_path: Path, kind: str) -> None:
    path, content = tmp_path / f"a.{kind}", bytes(range(256)) * 2000
    made = zipped(path, {"x": content}) if kind == "zip" else tarred(path, (member("x"), content))
    made.write_bytes(made.read_bytes()[:-200])
    refused(made, f"{made} cannot be unpacked")


@pytest.fixture
def figshare() -> Iterator[Figshare]:
    with serving() as found:
        yield found


@pytest.fixture
def get(figshare: Figshare, tmp_path: Path) -> Callable[[], list[Path]]:
    web = Web(f"{figshare.url}/v2")
    return lambda: fetch(web, read_article(web, 1), tmp_path / "1", limits=LIMITS)


def archive_of(tmp_path: Path, files: dict[str, bytes]) -> bytes:
    return zipped(tmp_path / "made.zip", files).read_bytes()


def test_a_fetched_archive_is_unpacked_once(figshare: Figshare, get: Callable, tmp_path: Path) -> None:
    figshare.add(1, {"runs.zip": archive_of(tmp_path, {"a/XDATCAR": TEXT}), "odd.7z": b"7z"})
    assert get() == [tmp_path / "1/files/odd.7z", tmp_path / "1/unpacked/runs.zip"]
    inside = tmp_path / "1/unpacked/runs.zip/a/XDATCAR"
    assert inside.read_bytes() == TEXT
    rows = {row["name"]: row for row in json.loads((tmp_path / "1/manifest.json").read_text())["files"]}
    assert rows["runs.zip"]["unpacked"] == {"md5": rows["runs.zip"]["md5"], "files": 1, "bytes": len(TEXT)}
    inside.write_bytes(b"mine")
    get()
    assert inside.read_bytes() == b"mine", "what is unpacked is the user's"


@pytest.mark.parametrize("moment", ["half unpacked", "before the rename"])
def test_an_unpacking_that_was_killed_is_done_again(
    figshare: Figshare, get: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    figshare.add(1, {"runs.zip": archive_of(tmp_path, {"a": TEXT, "b": TEXT})})

    def killed(*arguments: object) -> None:
        if moment == "half unpacked":
            (tmp_path / "1/unpacked/.10").mkdir()
            (tmp_path / "1/unpacked/.10/a").write_bytes(TEXT[:10])
        raise SystemExit  # leaves, as a kill does, what is there

    with monkeypatch.context() as patch:
        if moment == "half unpacked":
            patch.setattr(article_module, "unpack", killed)
        else:
            replace = article_module.os.replace
            patch.setattr(article_module.os, "replace", lambda a, b: killed() if str(a).endswith(".10") else replace(a, b))
        with pytest.raises(SystemExit):
            get()
    assert not (tmp_path / "1/unpacked/runs.zip").exists() and (tmp_path / "1/unpacked/.10").exists()
    get()
    assert {path.name: path.read_bytes() for path in (tmp_path / "1/unpacked/runs.zip").iterdir()} == {"a": TEXT, "b": TEXT}
    assert not (tmp_path / "1/unpacked/.10").exists()


def test_an_unsafe_archive_stays_packed_and_the_rest_is_there(figshare: Figshare, get: Callable, tmp_path: Path) -> None:
    bad, good = archive_of(tmp_path, {"../x": b"x"}), archive_of(tmp_path, {"x": TEXT})
    figshare.add(1, {"bad.zip": bad, "good.zip": good})
    with pytest.raises(FetchError, match=r"1 of 2 files: bad\.zip holds '\.\./x', a path out of its folder"):
        get()
    assert (tmp_path / "1/unpacked/good.zip/x").read_bytes() == TEXT and (tmp_path / "1/files/bad.zip").read_bytes() == bad


def test_a_new_version_of_an_archive_keeps_the_old_folder(figshare: Figshare, get: Callable, tmp_path: Path) -> None:
    number = figshare.add(1, {"runs.zip": archive_of(tmp_path, {"x": TEXT})})[0]
    get()
    figshare.files[number] = archive_of(tmp_path, {"x": b"new"})
    figshare.articles[1]["rows"] = [figshare.row(number, "runs.zip")]
    get()
    assert (tmp_path / "1/unpacked/runs.zip/x").read_bytes() == b"new"
    assert (tmp_path / "1/unpacked/runs.zip.before/x").read_bytes() == TEXT

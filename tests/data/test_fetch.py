"""Fetching from a server that speaks Figshare's API: what arrives, what a cut, a lie or a kill costs, what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from grannfield.cli import main
from grannfield.data.fetch import article as article_module
from grannfield.data.fetch.article import Place, fetch
from grannfield.data.fetch.figshare import article_number, read_article
from grannfield.data.fetch.unpack import Limits
from grannfield.data.fetch.web import FetchError, Patience, Refused, Web
from grannfield.files import FolderBusy, locked
from tests import figshare_server as server
from tests.figshare_server import Figshare, at_api, cut, serving, status

BODY = random.Random(1).randbytes(400_000)
HASTY = Patience(tries=4, first_s=0.01, longest_s=0.02, timeout_s=0.3, window_s=0.3)
SMALL = Limits(reserve=0)


@pytest.fixture
def figshare() -> Iterator[Figshare]:
    with serving() as found:
        yield found


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def get(figshare: Figshare, tmp_path: Path, told: list[str]) -> Callable[..., list[Path]]:
    """Fetch article 1 into tmp_path with little patience."""

    def make(number: int = 1, *patterns: str, **more: object) -> list[Path]:
        web = Web(f"{figshare.url}/v2", HASTY, told.append)
        return fetch(web, read_article(web, number), tmp_path / str(number), patterns, limits=SMALL, **more)  # type: ignore[arg-type]

    return make


def ranges(figshare: Figshare) -> list[str]:
    return [asked for path, asked in figshare.requests if path.startswith("/storage")]


def test_files_arrive_whole_and_the_manifest_says_what_they_are(figshare: Figshare, get: Callable, tmp_path: Path) -> None:
    figshare.add(1, {"run.xyz": BODY, "empty.txt": b""})
    assert get() == [tmp_path / "1/files/empty.txt", tmp_path / "1/files/run.xyz"]
    assert (tmp_path / "1/files/run.xyz").read_bytes() == BODY and (tmp_path / "1/files/empty.txt").read_bytes() == b""
    about = json.loads((tmp_path / "1/manifest.json").read_text())
    assert (about["article"], about["version"], about["licence"]) == (1, 1, "CC BY 4.0")
    assert about["doi"] == "10.6084/m9.figshare.1.v1" and about["published"].startswith("2024-06-24")
    row = about["files"][1]
    assert (row["name"], row["md5"], row["checked"]) == ("run.xyz", hashlib.md5(BODY).hexdigest(), "MD5")
    assert not (tmp_path / "1/parts").exists()
    get()
    assert figshare.sent[10] == len(BODY), "a second call moves no bytes"


def test_all_pages_are_listed_and_files_of_one_name_told_apart(figshare: Figshare) -> None:
    names = {f"file-{n:03}.dat": bytes([n]) for n in range(205)}
    numbers = figshare.add(1, names)
    rows = figshare.articles[1]["rows"]
    rows[1]["name"], rows[2]["name"], rows[3]["name"] = "Same.dat", "same.dat", "../../etc/passwd"
    figshare.articles[1]["folder_structure"] = {str(numbers[1]): "runs", str(numbers[2]): "runs", str(numbers[4]): "runs/../x"}
    for limit in (1000, 10):  # also where a server gives fewer on a page than asked for
        figshare.page_limit = limit
        found = {file.id: file.name for file in read_article(Web(f"{figshare.url}/v2", HASTY), 1).files}
        assert len(found) == 205
        assert (found[numbers[1]], found[numbers[2]]) == (f"runs/{numbers[1]}-Same.dat", f"runs/{numbers[2]}-same.dat")
        assert (found[numbers[3]], found[numbers[4]]) == (".._.._etc_passwd", "runs/x/file-004.dat")


def test_a_connection_cut_again_and_again_costs_no_byte_twice(figshare: Figshare, get: Callable, tmp_path: Path) -> None:
    number = figshare.add(1, {"run.xyz": BODY})[0]
    figshare.faults[number] = [cut(60_000)] * 6  # more cuts than tries: each brought something
    get()
    assert (tmp_path / "1/files/run.xyz").read_bytes() == BODY and figshare.sent[number] == len(BODY)
    assert ranges(figshare) == ["", *(f"bytes={60_000 * n}-" for n in range(1, 7))]


def test_a_connection_that_brings_nothing_is_given_up_and_gone_on_with(figshare: Figshare, get: Callable, tmp_path: Path) -> None:
    number = figshare.add(1, {"run.xyz": BODY})[0]
    figshare.faults[number] = [cut(300_000), *[cut(0)] * 3]
    with pytest.raises(FetchError, match=r"run\.xyz: connection cut at 0\.3 of 0\.4 MB; given up after 4 tries: .* try again"):
        get()
    get()
    assert (tmp_path / "1/files/run.xyz").read_bytes() == BODY and figshare.sent[number] == len(BODY)


@pytest.mark.parametrize("fault", [server.ignored_range, status(416)], ids=["not heeded", "refused"])
def test_without_ranges_it_starts_over(figshare: Figshare, get: Callable, tmp_path: Path, fault: server.Fault) -> None:
    number = figshare.add(1, {"run.xyz": BODY})[0]
    figshare.faults[number] = [cut(100_000), fault]
    get()
    assert (tmp_path / "1/files/run.xyz").read_bytes() == BODY
    assert ranges(figshare) == ["", "bytes=100000-", *[""] * (fault is not server.ignored_range)]


@pytest.mark.parametrize("fault", [status(500), status(503), status(429), server.silent, server.trickle])
def test_trouble_that_passes_is_waited_out(figshare: Figshare, get: Callable, told: list[str], fault: server.Fault) -> None:
    number = figshare.add(1, {"run.xyz": BODY})[0]
    figshare.json_faults, figshare.faults[number] = [status(502)], [fault, fault]
    started = time.monotonic()
    assert len(get()) == 1 and len(told) == 3 and all(" in 0.0 s" in line for line in told)
    assert time.monotonic() - started < 5


def test_the_wait_that_a_server_asks_for_is_kept(figshare: Figshare, get: Callable, told: list[str]) -> None:
    number = figshare.add(1, {"run.xyz": BODY})[0]
    figshare.faults[number] = [status(429, Retry_After="1")]
    started = time.monotonic()
    get()
    assert time.monotonic() - started >= 1 and "the server is overrun (429); try 2 of 4 in 1.0 s" in told[0]
    figshare.json_faults = [status(429, Retry_After="7200")]
    with pytest.raises(FetchError, match="the server asks to wait 7200 s: try again after that"):
        get()


def test_a_wrong_md5_is_fetched_once_more_and_then_set_aside(figshare: Figshare, get: Callable, tmp_path: Path) -> None:
    number = figshare.add(1, {"run.xyz": BODY})[0]
    figshare.files[number] = BODY[:-1] + b"?"
    with pytest.raises(FetchError, match=r"run\.xyz: MD5 [0-9a-f]{32} twice, but Figshare says"):
        get()
    assert figshare.sent[number] == 2 * len(BODY)
    assert (tmp_path / f"1/parts/{number}.wrong").stat().st_size == len(BODY) and not (tmp_path / "1/files").exists()

    def spoilt(request: server.Request) -> None:
        figshare.files[number] = BODY[:-1] + b"?"
        request.content(number)
        figshare.files[number] = BODY

    figshare.faults[number] = [spoilt]
    get()
    assert (tmp_path / "1/files/run.xyz").read_bytes() == BODY


def test_what_is_not_there_is_said_and_the_rest_is_fetched(figshare: Figshare, get: Callable, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"Figshare has no public article 7 \(http.*: HTTP 404\); check it"):
        get(7)
    first = figshare.add(1, {"a.xyz": BODY, "b.xyz": BODY})[0]
    del figshare.files[first]
    with pytest.raises(FetchError, match=r"1 of 2 files: a\.xyz: .* does not exist \(HTTP 404\); the article may have a new"):
        get()
    assert (tmp_path / "1/files/b.xyz").read_bytes() == BODY


def test_an_address_that_wants_a_browser_is_gone_around(figshare: Figshare, get: Callable, tmp_path: Path) -> None:
    number = figshare.add(1, {"run.xyz": BODY})[0]
    riddle = at_api(lambda request: request.status(202, x_amzn_waf_action="challenge"))
    for fault in (riddle, at_api(server.page), at_api(lambda request: request.status(403))):
        figshare.faults[number] = [fault]
        get()
        assert figshare.requests[-1][0] == f"/other/{number}"
        (tmp_path / "1/files/run.xyz").unlink()
    figshare.faults[number] = [riddle, lambda request: request.status(202, x_amzn_waf_action="challenge")]
    with pytest.raises(FetchError, match=r"kept from programs \(HTTP 202 challenge\); what a browser brings is taken too"):
        get()
    (tmp_path / "1/files").mkdir(exist_ok=True)
    (tmp_path / "1/files/run.xyz").write_bytes(BODY)  # by hand
    before = figshare.sent[number]
    get()
    assert figshare.sent[number] == before
    assert json.loads((tmp_path / "1/manifest.json").read_text())["files"][0]["md5"] == hashlib.md5(BODY).hexdigest()


def test_an_answer_without_end_is_not_read_to_it(figshare: Figshare, get: Callable) -> None:
    number = figshare.add(1, {"run.xyz": BODY})[0]
    figshare.faults[number] = [server.endless, server.endless]
    with pytest.raises(FetchError, match="the server sends more than the 400000 bytes of Figshare's list"):
        get()
    figshare.json_faults = [server.endless]
    with pytest.raises(FetchError, match="does not come to an end"):
        get()


def test_a_file_that_changed_between_two_sessions_starts_over(figshare: Figshare, get: Callable, tmp_path: Path) -> None:
    number = figshare.add(1, {"run.xyz": BODY})[0]
    figshare.faults[number] = [cut(100_000), *[cut(0)] * 3]
    with pytest.raises(FetchError, match="given up"):
        get()
    new = BODY[::-1]
    figshare.files[number], figshare.etags[number] = new, '"2"'
    figshare.articles[1]["rows"] = [figshare.row(number, "run.xyz")]
    tries = len(ranges(figshare))
    get()
    assert (tmp_path / "1/files/run.xyz").read_bytes() == new and ranges(figshare)[tries:] == [""]
    figshare.files[number] = BODY  # and again, with the file whole: the old one is kept
    figshare.articles[1]["rows"] = [figshare.row(number, "run.xyz")]
    get()
    old = tmp_path / f"1/files/run.xyz.before-{hashlib.md5(new).hexdigest()[:8]}"
    assert (tmp_path / "1/files/run.xyz").read_bytes() == BODY and old.read_bytes() == new


def test_another_entity_tag_starts_over_although_the_list_is_the_same(figshare: Figshare, get: Callable, told: list[str]) -> None:
    number = figshare.add(1, {"run.xyz": BODY})[0]

    def replaced(request: server.Request) -> None:
        figshare.etags[number] = '"other"'
        request.content(number)

    figshare.faults[number] = [cut(100_000), replaced]
    get()
    assert "changed at the server; from the beginning" in told[1] and ranges(figshare) == ["", "bytes=100000-", ""]


def test_a_disk_too_small_is_noticed_before_the_first_byte(
    figshare: Figshare, get: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = figshare.add(1, {"a.zip": BODY, "b.xyz": BODY})[0]
    monkeypatch.setattr(article_module.shutil, "disk_usage", lambda path: SimpleNamespace(free=1_100_000))
    with pytest.raises(FetchError, match="has 1 MB free, but 1 MB are to come and at least 0 MB to unpack"):
        get()
    assert not figshare.sent[number]
    assert len(get(1, "b*", unpacking=False)) == 1


def test_only_what_fits_is_fetched_and_links_are_named(figshare: Figshare, get: Callable, told: list[str]) -> None:
    numbers = figshare.add(1, {"LGPS.xyz": BODY, "LPS.xyz": BODY, "link": b""})
    figshare.articles[1]["rows"][2] |= {"is_link_only": True, "download_url": "https://example.org/data"}
    assert [path.name for path in get(1, "LG*", "link")] == ["LGPS.xyz"] and not figshare.sent[numbers[1]]
    assert told == ["link is not at Figshare but a link: https://example.org/data"]
    with pytest.raises(FetchError, match=r"no file fits --only \*\.h5; there are: LGPS\.xyz, LPS\.xyz, link"):
        get(1, "*.h5")


def test_one_process_at_a_time(figshare: Figshare, get: Callable, tmp_path: Path) -> None:
    figshare.add(1, {"run.xyz": BODY})
    with locked(tmp_path / "1"), pytest.raises(FolderBusy, match="another process is working in"):
        get()


@pytest.mark.parametrize("target", ["http://example.org/x", "file:///etc/passwd", "ftp://example.org/x"])
def test_nothing_leads_away_from_https(figshare: Figshare, get: Callable, target: str) -> None:
    number = figshare.add(1, {"run.xyz": BODY})[0]
    figshare.faults[number] = [at_api(lambda request: request.status(302, Location=target))]
    figshare.articles[1]["rows"][0]["download_url"] = target
    with pytest.raises(FetchError, match="is not an https address"):
        get()


def test_an_api_must_be_https_or_on_this_machine() -> None:
    with pytest.raises(Refused, match="is not an https address"):
        Web("http://api.figshare.com/v2")
    with pytest.raises(FetchError, match=r"cannot be reached .* given up after 3 tries"):
        Web("http://127.0.0.1:9/v2", HASTY).json("articles/1")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([], "does not answer as Figshare's API v2 does: 'id' = None"),
        ({"id": "1"}, "'id' = '1'; is that address right"),
        ({"id": 1, "is_embargoed": True, "embargo_reason": "patent"}, "under embargo or its files are closed: patent"),
    ],
)
def test_an_answer_of_another_kind_is_named(figshare: Figshare, get: Callable, answer: object, message: str) -> None:
    figshare.json_faults = [lambda request: request.json(answer)]
    with pytest.raises(FetchError, match=message):
        get()


@pytest.mark.parametrize("text", ["LGPS", "10.1039/d4dd00000x", "https://figshare.com/collections/X/123456", "12.5"])
def test_what_is_no_article_is_said(text: str) -> None:
    with pytest.raises(ValueError, match=r"no article of Figshare; give its number|is a collection"):
        article_number(text)


@pytest.mark.parametrize(("moment", "how"), [(1, signal.SIGKILL), (2, signal.SIGINT), (3, signal.SIGKILL)])
def test_killed_at_any_moment_it_goes_on_without_a_byte_twice(figshare: Figshare, tmp_path: Path, moment: int, how: int) -> None:
    body = random.Random(2).randbytes(1_000_000)
    number = figshare.add(1, {"run.xyz": body})[0]
    figshare.rate = 1e6
    arguments = [sys.executable, "-m", "grannfield.cli", "data", "fetch", "1", "--api", f"{figshare.url}/v2"]
    arguments += ["--out", str(tmp_path)]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    part = Place(tmp_path / "figshare-1").parts / f"{number}.part"
    while not (part.exists() and part.stat().st_size >= 200_000 * moment):
        assert process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, how)
    _, error = process.communicate(timeout=60)
    assert process.returncode == (130 if how == signal.SIGINT else -how)
    assert ("the same command goes on from there" in error) == (how == signal.SIGINT)
    kept = part.stat().st_size
    figshare.rate = float("inf")
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=60)
    assert (tmp_path / "figshare-1/files/run.xyz").read_bytes() == body
    assert kept >= 200_000 * moment and ranges(figshare) == ["", f"bytes={kept}-"]
    assert "grannfield data import FILE --material" in done.stdout


def command_line(figshare: Figshare, *arguments: str) -> int:
    return main(["data", "fetch", *arguments, "--api", f"{figshare.url}/v2"])


def test_the_list_shows_names_sizes_and_state_and_makes_nothing(
    figshare: Figshare, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    figshare.add(26089474, {"aimd.zip": BODY})
    figshare.add(26089486, {"mlff.zip": BODY})
    assert command_line(figshare, "--list") == 0
    shown = capsys.readouterr().out
    assert "26089474 version 1: Data of 26089474 (1 of 1 files, 400.0 kB)" in shown and "mlff.zip" in shown
    assert "not here" in shown and str(tmp_path / "grannfield/downloads/figshare-26089486") in shown
    assert not list(tmp_path.iterdir()) and not figshare.sent
    assert command_line(figshare, "26089474", "--only", "*.zip", "--no-unpack") == 0
    assert command_line(figshare, "26089474", "--list") == 0
    assert " here\n" in capsys.readouterr().out


def test_an_article_that_fails_does_not_keep_the_next_from_coming(
    figshare: Figshare, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figshare.add(2, {"run.xyz": BODY})
    assert command_line(figshare, "1", "2", "--out", str(tmp_path)) == 2
    error = capsys.readouterr().err
    assert "grannfield: Figshare has no public article 1 " in error and len(error.splitlines()) == 1
    assert (tmp_path / "figshare-2/files/run.xyz").read_bytes() == BODY


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["LGPS"], "'LGPS' is no article of Figshare; give its number"),
        (["1", "--tries", "0"], "--tries 0 and --timeout 30 must be positive"),
        (["1", "--api", "http://example.org/v2"], "http://example.org/v2 is not an https address"),
    ],
)
def test_a_wrong_command_line_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "fetch", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1


def test_help_names_the_papers_articles(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["data", "fetch", "--help"])
    shown = capsys.readouterr().out
    assert "26089474 (AIMD)" in shown and "26089486" in shown and "--no-unpack" in shown

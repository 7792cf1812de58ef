"""Requests over HTTP that outlast a poor connection, a busy server and a redirect to somewhere else."""

from __future__ import annotations

import email.utils
import http.client
import ipaddress
import json
import random
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import urlencode, urljoin, urlsplit

from grannfield import __version__

PASSING = {408, 425, 429, 500, 502, 503, 504}
"""Statuses that another try may mend."""
LONGEST_ANSWER = 32 * 1024**2
"""Bytes of JSON beyond which an answer is not read."""


class FetchError(RuntimeError):
    """Data that could not be fetched, and what to do about it."""


class Refused(FetchError):
    """The server will not give this, now or later."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Passing(FetchError):
    """A fault that another try may mend."""

    def __init__(self, message: str, after_s: float = 0.0, unreachable: bool = False) -> None:
        super().__init__(message)
        self.after_s = after_s
        """Seconds the server asked to wait."""
        self.unreachable = unreachable
        """No connection was made at all."""


@dataclass(frozen=True)
class Patience:
    """How long a fault is put up with."""

    tries: int = 8
    """In a row that bring nothing."""
    first_s: float = 1.0
    """Wait before the second try; it doubles from try to try."""
    longest_s: float = 60.0
    timeout_s: float = 30.0
    """Without a single byte."""
    window_s: float = 60.0
    slowest: float = 100.0
    """Bytes/s over a window below which a connection is given up and made anew."""
    asked_s: float = 900.0
    """Longest wait that a server may ask for."""
    pace_s: float = 1.0
    """Between two requests: Figshare asks for no more than one a second."""

    def wait_s(self, failed: int) -> float:
        """Wait after so many failures in a row, spread by half so that many clients do not come back together."""
        return min(self.longest_s, self.first_s * 2 ** (failed - 1)) * random.uniform(0.5, 1.0)


def is_local(url: str) -> bool:
    """Whether a URL stays on this machine.

    >>> is_local("http://127.0.0.1:8000/v2"), is_local("http://localhost"), is_local("https://api.figshare.com")
    (True, True, False)
    """
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_url(url: str, base: str) -> None:
    """Refuse anything but https; plain http only on this machine, and only when the base address is there too."""
    scheme = urlsplit(url).scheme
    if scheme != "https" and not (scheme == "http" and is_local(url) and is_local(base)):
        raise Refused(f"{url} is not an https address; nothing is fetched from there")


class Web:
    """Requests to one API and to where it sends for files."""

    def __init__(self, base: str, patience: Patience | None = None, tell: Callable[[str], None] = lambda text: None) -> None:
        self.base = base.rstrip("/")
        self.patience = patience or Patience()
        self.tell = tell
        """Told of every wait."""
        self._last = -1e9
        self._reached = False
        check_url(self.base, self.base)
        self._opener = urllib.request.OpenerDirector()  # by hand: the default one also opens file: and ftp:
        proxies = urllib.request.ProxyHandler({} if is_local(self.base) else None)
        for handler in (
            proxies,
            urllib.request.UnknownHandler(),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            _Redirects(self.base),
            urllib.request.HTTPErrorProcessor(),
        ):
            self._opener.add_handler(handler)

    def open(self, url: str, headers: Mapping[str, str] | None = None) -> http.client.HTTPResponse:
        """One try of one request; Passing or Refused for every way in which it fails."""
        check_url(url, self.base)
        if not is_local(url):
            time.sleep(max(0.0, self._last + self.patience.pace_s - time.monotonic()))
        about = {"User-Agent": f"grannfield/{__version__}", "Accept-Encoding": "identity", **(headers or {})}
        try:
            answer = self._opener.open(urllib.request.Request(url, headers=about), timeout=self.patience.timeout_s)
        except urllib.error.HTTPError as problem:
            self._reached = True
            problem.close()
            raise _judged(problem) from None
        except (OSError, http.client.HTTPException) as problem:
            raise _judged_connection(url, problem) from None
        finally:
            self._last = time.monotonic()
        self._reached = True
        encoding = answer.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            answer.close()
            raise Refused(f"{url} is sent as {encoding}, which was not asked for; a proxy between may be at fault")
        return answer  # type: ignore[no-any-return]

    def json(self, path: str, **query: Any) -> Any:
        """The JSON at a path below the base, after as many tries as patience allows."""
        url = f"{self.base}/{path}" + (f"?{urlencode(query)}" if query else "")
        failed = 0
        while True:
            try:
                with self.open(url, {"Accept": "application/json"}) as answer:
                    text = self._all_of(answer, url)
                return json.loads(text)
            except Passing as problem:
                failed = self.wait(problem, failed)
            except ValueError:
                raise Refused(f"{url} did not answer with JSON; is that address an API of Figshare's kind?") from None

    def wait(self, problem: Passing, failed: int) -> int:
        """Wait after a passing fault and return the number in a row; FetchError when that is enough."""
        failed += 1
        most = self.patience.tries if self._reached or not problem.unreachable else min(3, self.patience.tries)
        if failed >= most:
            raise FetchError(f"{problem}; given up after {failed} tries: what is complete is kept, try again later") from None
        if problem.after_s > self.patience.asked_s:
            raise FetchError(f"{problem}; the server asks to wait {problem.after_s:.0f} s: try again after that") from None
        seconds = max(problem.after_s, self.patience.wait_s(failed))
        self.tell(f"{problem}; try {failed + 1} of {most} in {seconds:.1f} s")
        time.sleep(seconds)
        return failed

    def _all_of(self, answer: http.client.HTTPResponse, url: str) -> bytes:
        """The whole of a short answer; Passing when it is cut off, Refused when it does not end."""
        text, started = b"", time.monotonic()
        while chunk := read_some(answer, url):
            text += chunk
            if len(text) > LONGEST_ANSWER or time.monotonic() - started > self.patience.window_s:
                raise Refused(f"{url} does not come to an end ({len(text)} bytes of JSON so far)")
        length = answer.headers.get("Content-Length", "")
        if length.isdigit() and len(text) < int(length):
            raise Passing(f"{url}: connection cut at {len(text)} of {length} bytes")
        return text


def read_some(answer: http.client.HTTPResponse, url: str, most: int = 1024**2) -> bytes:
    """What has arrived, at most `most` bytes and empty at the end; Passing when the connection is lost."""
    try:
        return answer.read1(most)
    except (OSError, http.client.HTTPException) as problem:
        raise Passing(f"{_place(url)}: connection lost ({_reason(problem)})") from None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Redirects to https alone (and on this machine, when the API itself is there)."""

    def __init__(self, base: str) -> None:
        self.base = base

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        fp.close()  # unread: it may have no end
        target = urljoin(req.full_url, newurl)
        check_url(target, self.base)
        return super().redirect_request(req, fp, code, msg, headers, target)


def _judged(problem: urllib.error.HTTPError) -> FetchError:
    """An HTTP status as a passing or a final fault."""
    url, status = _place(problem.url), problem.code
    if status in PASSING:
        after = _seconds(problem.headers.get("Retry-After", ""))
        return Passing(f"{url}: the server is {'overrun' if status == 429 else 'in trouble'} ({status})", after)
    meaning = {
        401: "is not public",
        403: "is refused to programs or not public",
        404: "does not exist",
        410: "was withdrawn",
        416: "does not have the range asked for",
    }.get(status, "cannot be fetched")
    return Refused(f"{url} {meaning} (HTTP {status})", status)


def _judged_connection(url: str, problem: Exception) -> FetchError:
    """A connection that did not come about or broke as a passing or a final fault."""
    cause = problem.reason if isinstance(problem, urllib.error.URLError) else problem
    if isinstance(cause, FetchError):
        return cause
    if isinstance(cause, ssl.SSLCertVerificationError):
        return Refused(
            f"{_place(url)}: its certificate is not trusted here ({cause.verify_message}); point SSL_CERT_FILE at your "
            "organisation's certificates"
        )
    unreachable = isinstance(cause, (socket.gaierror, ConnectionRefusedError))
    what = "cannot be reached" if unreachable else "the connection failed"
    return Passing(f"{_place(url)}: {what} ({_reason(cause)})", unreachable=unreachable)


def _reason(problem: object) -> str:
    return "timed out" if isinstance(problem, TimeoutError) else str(problem) or type(problem).__name__


def _place(url: str) -> str:
    """A URL without its query, which may be a signature a line long."""
    return url.partition("?")[0]


def _seconds(text: str) -> float:
    """A Retry-After header, seconds or a date, as seconds from now; 0 for none.

    >>> _seconds("7"), _seconds("Wed, 21 Oct 2015 07:28:00 GMT"), _seconds("soon")
    (7.0, 0.0, 0.0)
    """
    text = text.strip()
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return 0.0

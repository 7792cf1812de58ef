"""`grannfield data fetch`: what it takes, what it prints."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from pathlib import Path

from grannfield.data.fetch.article import NoFile, Place, chosen, fetch
from grannfield.data.fetch.figshare import API, PAPER, Article, article_number, read_article
from grannfield.data.fetch.web import FetchError, Patience, Web

HELP = "download public data from Figshare (default: the paper's AIMD and MLFF trajectories); resumable"
DESCRIPTION = """Download the files of Figshare articles through Figshare's public API: every file checked by its MD5, cut
connections and busy servers waited out, archives unpacked into a folder of their own. Killed or interrupted at any moment, the
same command goes on where it stopped. Without ARTICLE it fetches the two articles of the paper: the AIMD and the trajectories
of its models."""
EPILOG = f"""ARTICLE is a number, a DOI or an address:
  26089474    10.6084/m9.figshare.26089474.v1    https://figshare.com/articles/dataset/TITLE/26089474

Each article gets a folder figshare-NUMBER (with -vN where a version was named) that holds
  files/          every file whole, with the MD5 that Figshare lists
  unpacked/       zip and tar archives, each in a folder of its name; archives inside archives stay packed
  manifest.json   title, DOI, licence, version, date, MD5 sums
  parts/          what is not complete yet

The paper's articles: {"; ".join(f"{number} ({what})" for number, what in PAPER.items())}.

examples:
  grannfield data fetch --list                  names and sizes, nothing is downloaded
  grannfield data fetch 26089474 --only '*LGPS*' --out /scratch/figshare
  grannfield data fetch 10.6084/m9.figshare.26089486 --no-unpack

GRANNFIELD_FIGSHARE_API stands for --api; http_proxy, https_proxy, no_proxy and SSL_CERT_FILE are heeded.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add = parser.add_argument
    add("articles", nargs="*", metavar="ARTICLE", help="numbers, DOIs or addresses, see below (none: the paper's)")
    add("--list", action="store_true", help="show names, sizes and what is here; download nothing")
    add("--only", action="append", default=[], metavar="PATTERN", help="files that fit, such as '*.zip'; repeatable")
    add("--out", type=Path, metavar="FOLDER", help="gets a folder for each article (default: beside the user's datasets)")
    add("--no-unpack", action="store_true", help="leave archives packed")
    add("--tries", type=int, default=Patience.tries, metavar="N", help="in a row without progress (default %(default)s)")
    add("--timeout", type=float, default=Patience.timeout_s, metavar="S", help="without a byte (default %(default)g s)")
    add("--api", default="", metavar="URL", help=f"an API of Figshare's kind (default {API})")


def run(options: argparse.Namespace) -> int:
    """The exit code of one command line; ValueError or FetchError, in one line, for what could not be had."""
    if options.tries < 1 or not options.timeout > 0:
        raise ValueError(f"--tries {options.tries} and --timeout {options.timeout:g} must be positive")
    wanted = list(dict.fromkeys(map(article_number, options.articles))) or [(number, 0) for number in PAPER]
    base = options.api or os.environ.get("GRANNFIELD_FIGSHARE_API", "") or API
    web = Web(base, Patience(tries=options.tries, timeout_s=options.timeout), tell=partial(print, file=sys.stderr, flush=True))
    problems: list[FetchError] = []
    for number, version in wanted:
        try:
            _one(web, number, version, options)
        except FetchError as problem:  # the next article may be had
            problems.append(problem)
    grave = [problem for problem in problems if not isinstance(problem, NoFile)]
    if grave or len(problems) == len(wanted):
        raise FetchError("; ".join(map(str, problems)))
    if not options.list:
        print("next, for each trajectory you find there (look first: how the files are laid out is their authors' choice):")
        print("  grannfield data import FILE --material LGPS --name my-aimd")
    return 0


def _one(web: Web, number: int, version: int, options: argparse.Namespace) -> None:
    """List or fetch one article."""
    article = read_article(web, number, version)
    place = Place((options.out or downloads_folder()) / (f"figshare-{number}" + f"-v{version}" * bool(version)))
    _show(article, place, options)
    if options.list:
        return
    found = fetch(web, article, place.folder, options.only, unpacking=not options.no_unpack)
    print("\n".join(str(path) for path in found))
    print(f"in {place.folder}; cite doi:{article.doi}, licence {article.licence or 'not stated'}\n")


def downloads_folder() -> Path:
    """Where downloads go: beside the user's own datasets."""
    from grannfield.data.material import user_datasets_folder

    return user_datasets_folder().parent / "downloads"


def _show(article: Article, place: Place, options: argparse.Namespace) -> None:
    """An article's title and its files as a table."""
    files = chosen(article.files, options.only)
    total = sum(file.size for file in files)
    print(f"{article.id} version {article.version}: {article.title} ({len(files)} of {len(article.files)} files, {_size(total)})")
    if options.list:
        width = max(len(file.name) for file in files)
        for file in files:
            print(f"  {file.name:{width}}  {_size(file.size):>9}  {file.md5 or 'no MD5':32}  {place.state(file)}")
        print(f"  into {place.folder}\n")


def _size(n_bytes: float) -> str:
    """Bytes in the unit a person would choose.

    >>> _size(512), _size(2_500_000), _size(3.2e9)
    ('512 B', '2.5 MB', '3.2 GB')
    """
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= factor:
            return f"{n_bytes / factor:.1f} {unit}"
    return f"{n_bytes:.0f} B"

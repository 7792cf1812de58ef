"""Text that means itself in Markdown, LaTeX and HTML: a model's name is somebody else's, and may hold anything."""

from __future__ import annotations

import re
from collections.abc import Callable

UNBROKEN = "\u00a0"
"""A space at which no line ends: a number stays in one."""
TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "`": r"\textasciigrave{}", '"': "''", "[": "{[}", "]": "{]}", "*": "{*}", "²": r"\textsuperscript{2}",
    "³": r"\textsuperscript{3}", "Å": r"\AA{}", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "·": r"$\cdot$", "±": r"$\pm$",
    UNBROKEN: "~", "≥": r"$\geq$", "≤": r"$\leq$", "×": r"$\times$", "–": "--", "−": "$-$", "σ": r"$\sigma$", "°": r"$^\circ$",
}  # fmt: skip
"""Brackets and stars in braces: after the end of a row they would be its options."""
RAISED = {raised: plain for raised, plain in zip("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789", strict=True)}


def one_line(text: str) -> str:
    """Text without line breaks and control characters, its spaces single."""
    visible = "".join(c if c.isprintable() or c == UNBROKEN else " " for c in text)
    return re.sub(" +", " ", visible).strip(" ")


def md(text: str) -> str:
    r"""Text in Markdown, in a table cell too. Underscores inside words mean nothing and stay as they are.

    >>> print(md("a_b|c <i> `x` *y* _z_ $5 & [l](u)"))
    a_b\|c &lt;i> \`x\` \*y\* \_z\_ \$5 &amp; \[l](u)
    """
    text = one_line(text).replace("&", "&amp;").replace("<", "&lt;")
    text = re.sub(r"\\(?=[^\w\s])", r"\\\\", text)
    text = re.sub(r"[|`*$~]", lambda found: "\\" + found[0], text)
    text = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)
    return re.sub(r"\[(?=[^\]]*\][\[(:])", r"\\[", text)


def prose(text: str, write: Callable[[str], str], code: Callable[[str], str]) -> str:
    """A sentence of ours, in which `marks like these` set code apart: words by `write`, code by `code`.

    >>> prose("the call `f(x)` of <you>", md, md_code)
    'the call `f(x)` of &lt;you>'
    """
    pieces = re.split(r"`([^`]+)`", text)
    return "".join(code(piece) if k % 2 else _kept_ends(piece, write) for k, piece in enumerate(pieces))


def _kept_ends(text: str, write: Callable[[str], str]) -> str:
    body = write(text)
    before, after = " " * text[:1].isspace(), " " * text[-1:].isspace()
    return f"{before}{body}{after}" if body else before


def md_code(text: str) -> str:
    """Code in Markdown; in it nothing but the mark itself means anything."""
    return f"`{one_line(text)}`"


def tex_code(text: str) -> str:
    return rf"\texttt{{{tex(text)}}}"


def html_code(text: str) -> str:
    return f"<code>{html(text)}</code>"


def tex(text: str) -> str:
    r"""Text in LaTeX, in plain ASCII; a character without a command is shown by its number.

    >>> print(tex("50% of a_b & 10⁻⁵ Å², 中"))
    50\% of a\_b \& 10\textsuperscript{-5} \AA{}\textsuperscript{2}, {[}U+4E2D{]}
    """
    raised = "".join(RAISED)
    pieces = re.split(f"([{raised}]+)", one_line(text))
    return "".join(_raised(piece) if piece and piece[0] in RAISED else "".join(map(_tex, piece)) for piece in pieces)


def _tex(character: str) -> str:
    if character in TEX:
        return TEX[character]
    return character if character.isascii() else f"{{[}}U+{ord(character):04X}{{]}}"


def _raised(text: str) -> str:
    return rf"\textsuperscript{{{''.join(RAISED[c] for c in text)}}}"


def html(text: str) -> str:
    """Text in HTML, in an attribute too.

    >>> html('<b title="x">')
    '&lt;b title=&quot;x&quot;&gt;'
    """
    from html import escape

    return escape(one_line(text))

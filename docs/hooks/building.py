"""What MkDocs does besides: derived text put in, marks of executed blocks taken out, equations turned into MathML."""

from __future__ import annotations

import html
import re
from typing import Any

from blocks import without_marks
from derived import expanded

DISPLAYED = re.compile(r'<div class="arithmatex">\\\[(.*?)\\\]</div>', re.S)
INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.S)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs with each page."""
    return without_marks(expanded(markdown))


def on_page_content(content: str, **_: Any) -> str:
    """Called by MkDocs with each page's HTML: no script and no font is needed to read an equation."""
    content = DISPLAYED.sub(lambda found: f'<div class="equation">{_mathml(found[1], "block")}</div>', content)
    return INLINE.sub(lambda found: _mathml(found[1], "inline"), content)


def _mathml(latex: str, display: str) -> str:
    from latex2mathml.converter import convert

    return str(convert(html.unescape(latex).strip(), display=display))

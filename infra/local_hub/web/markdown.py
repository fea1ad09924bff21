"""A card as HTML: tables and pictures of the repository, no HTML and no scripts of its author."""

import re

_ELSEWHERE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|/|#|$")  # an address of its own, from the root, on the same page, or none


def rendered(text: str, raw: str, shown: str) -> str:
    """Markdown to HTML; relative pictures come from the address `raw`, relative links lead below `shown`."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    tokens = parser.parse(text)
    for token in tokens:
        for inner in token.children or []:
            for name, base in (("src", raw), ("href", shown)):
                target = str(inner.attrGet(name) or "")  # the parser has quoted it
                if not _ELSEWHERE.match(target):
                    inner.attrSet(name, f"{base}/{target}")
    return str(parser.renderer.render(tokens, parser.options, {}))

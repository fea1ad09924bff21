"""Patterns of .gitattributes and .gitignore, as Git reads them. A line that Git does not understand matches nothing.

Nobody's pattern may hold up the others: what stands between two stars is looked for once, from the left, where an ordinary expression would
try every way; and a line with more than two `**` is not read.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

_MOST_LINES, _LONGEST_LINE, _MOST_DEPTHS = 1_000, 1_024, 2
_STARS = re.compile(r"(?:\[\^/\]\*){2,}")  # as pathspec writes them: [^/]*
_BETWEEN_STARS = re.compile(r"\[\^/\]\*((?:\\.|\[\^?\]?[^\]]*\](?!\*)|[^\\\[\]/()])+)(?=\[\^/\]\*)")
_IN_FOLDER = "ps_d"  # pathspec's name for what a pattern fits only as a folder above; .gitattributes, unlike .gitignore, does not mean that


def is_lfs(path: str, gitattributes: str) -> bool:
    """Whether .gitattributes puts a file behind the LFS filter; the last pattern that fits decides."""
    lfs = False
    for pattern, says_lfs in _filters(gitattributes):
        match = pattern.match(path)
        if match and not match.groupdict().get(_IN_FOLDER):
            lfs = says_lfs
    return lfs


def is_ignored(path: str, gitignore: str) -> bool:
    """Whether .gitignore leaves a file out."""
    return _ignoring(gitignore).match_file(path)


@lru_cache(maxsize=8)
def _ignoring(gitignore: str) -> "GitIgnoreSpec":
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec(pattern for line in _lines(gitignore) if (pattern := _pattern(line)))


@lru_cache(maxsize=8)
def _filters(gitattributes: str) -> "list[tuple[re.Pattern[str], bool]]":
    """Each pattern that says something of the filter, and whether it is LFS."""
    found = []
    for line in _lines(gitattributes):
        text, *attributes = line.split() or [""]
        said = [one for one in attributes if one.startswith("filter=") or one in ("-filter", "!filter")]
        text = text.replace("[[:space:]]", "[ ]")  # so `git lfs track` writes a space
        pattern = _pattern(text) if said and not text.startswith("!") and not text.endswith("/") else None
        if pattern and pattern.regex:
            found.append((pattern.regex, said[-1] == "filter=lfs"))
    return found


def _pattern(text: str) -> "GitIgnoreSpecPattern | None":
    from pathspec.patterns.gitignore.base import GitIgnorePatternError
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

    try:
        regex, includes = GitIgnoreSpecPattern.pattern_to_regex(text)
        if regex is None or text.count("**") > _MOST_DEPTHS:
            return None
        return GitIgnoreSpecPattern(re.compile(_BETWEEN_STARS.sub(r"(?>[^/]*?\1)", _STARS.sub("[^/]*", regex))), includes)
    except (GitIgnorePatternError, re.error):
        return None


def _lines(text: str) -> Iterator[str]:
    lines = (line.removesuffix("\r") for line in text.split("\n", _MOST_LINES)[:_MOST_LINES])
    return (line for line in lines if not line.startswith("#") and len(line) <= _LONGEST_LINE)

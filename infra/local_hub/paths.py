"""Which names files, branches and repositories may have."""

import re
import unicodedata

from infra.local_hub.refusal import Refusal, bad_request, unprocessable

_LONGEST_PATH, _LONGEST_NAME, _MOST_NAMES = 4096, 255, 100
_OTHER_SYSTEMS = re.compile(r"\\|^[A-Za-z]:")  # what separates names, or begins with a drive, on Windows
_REPOSITORY = re.compile(r"(?=.{1,96}$)[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?")
_FORBIDDEN_IN_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^/|/$|\.$|\.lock(?:/|$)|^-|^@$|^HEAD$|(^|/)\.")


def composed(path: str) -> str:
    """A path as it is kept: letters and their accents in one (NFC), as all systems but one write them."""
    return unicodedata.normalize("NFC", path)


def checked_path(path: str) -> str:
    """A file's path inside its repository, composed (NFC).

    Raises:
        Refusal: it is empty, absolute (also as Windows means it), climbs out, has a backslash, is too long or too deep, or could not
            be written on every system.

    """
    kept = composed(path)
    names = kept.split("/")
    foreign = _OTHER_SYSTEMS.search(kept)
    if foreign or len(kept.encode()) > _LONGEST_PATH or len(names) > _MOST_NAMES or any(not _allowed(name) for name in names):
        raise unprocessable(f"Invalid path in repository: {path[:200]!r}")
    return kept


def _allowed(name: str) -> bool:
    controls = any(unicodedata.category(character) == "Cc" for character in name)
    return 0 < len(name.encode()) <= _LONGEST_NAME and name.lower() not in (".", "..", ".git") and not controls


def checked_repository_name(name: str) -> str:
    """The last part of a repository's id.

    Raises:
        Refusal: a character that ids may not have.

    """
    if not _REPOSITORY.fullmatch(name) or ".." in name or "--" in name or name.endswith(".git"):
        raise bad_request(f"Invalid repository name: {name[:200]!r}. Use letters, digits, '-', '_' and '.', at most 96")
    return name


def checked_ref(name: str) -> str:
    """A branch's or tag's name, by the rules of `git check-ref-format`.

    Raises:
        Refusal: Git could not keep it.

    """
    if not name or len(name) > _LONGEST_NAME or _FORBIDDEN_IN_REF.search(name):
        raise Refusal(400, f"Invalid reference name: {name[:200]!r}")
    return name

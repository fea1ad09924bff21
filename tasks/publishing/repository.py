"""One repository on a Hub, asked patiently: whoever does not answer is asked again, and no call does anything twice when repeated.

A connection that breaks may break before the Hub has done what was asked, or after. So every call here looks at what is there, or asks
for a state and not for a change.
"""

import hashlib
import json
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

from infra.errors import HubError, HubMoved, HubUnreachable
from infra.hub import HubConnection, hub_errors
from infra.storage import file_hash
from tasks.contracts import RepositoryKind
from tasks.publishing.screening import MANIFEST

if TYPE_CHECKING:
    from huggingface_hub.hf_api import GitCommitInfo, RepoFile

MAIN = "main"
_WAITS_S = (0.5, 0.5, 1, 1, 2, 2, 4, 4, 8, 8, 15, 15)  # on top of what the client waits by itself before it gives up
_PATIENCE_S = 15 * 60.0  # for one call, however slowly its attempts fail
_LONGEST_WAIT_S = 5 * 60.0  # if the Hub asks for it
_ATTEMPTS = 10  # on top of what others commit meanwhile
_HEADING = ".gitattributes", "README.md"  # what a Hub puts into a new repository
Answer = TypeVar("Answer")


def patiently(call: Callable[[], Answer]) -> Answer:
    """Call, and call again while the Hub does not answer: for about a minute, longer if the Hub asks to be left alone.

    Raises:
        HubUnreachable: it still does not.

    """
    deadline = time.monotonic() + _PATIENCE_S
    for wait_s in _WAITS_S:
        try:
            return call()
        except HubUnreachable as error:
            if time.monotonic() > deadline:
                raise
            time.sleep(max(wait_s, min(error.retry_after_s, _LONGEST_WAIT_S)))
    return call()


def on_top_of_others(call: Callable[[], Answer]) -> Answer:
    """Call, and call again if somebody else changed the repository meanwhile.

    Raises:
        HubMoved: they do so all the time.

    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return call()
        except HubMoved:
            continue
    return call()


class Repository:
    """A repository by its owner/name. Every method raises HubUnreachable, HubMoved and HubError as `hub_errors` says."""

    def __init__(self, hub: HubConnection, name: str, kind: RepositoryKind) -> None:
        self._hub, self._api = hub, hub.api()
        self.name, self.kind = name, kind

    def make(self, private: bool) -> tuple[bool, str]:
        """Make it if there is none: whether it is private, and the commit of its main branch."""
        self._ask("making", self._api.create_repo, private=private, exist_ok=True)
        described = self._ask("looking at", self._api.repo_info)
        self.name = str(described.id)  # as it is written there
        return bool(described.private), str(described.sha)

    def exists(self) -> bool:
        """Whether there is one of that name that we may see."""
        return self._ask("looking for", self._api.repo_exists)

    def look(self) -> tuple[bool, str]:
        """Whether it is private, and the commit of its main branch."""
        described = self._ask("looking at", self._api.repo_info)
        return bool(described.private), str(described.sha)

    def files(self, revision: str) -> "dict[str, RepoFile]":
        """The files of a revision by their paths."""
        from huggingface_hub.hf_api import RepoFile

        def listed(name: str, **where: Any) -> "dict[str, RepoFile]":
            items = self._api.list_repo_tree(name, recursive=True, **where)
            return {item.path: item for item in items if isinstance(item, RepoFile)}

        return self._ask("reading", listed, revision=revision)

    def read(self, path: str, revision: str) -> bytes:
        """A small file of a revision."""

        def content(name: str, **where: Any) -> bytes:
            with TemporaryDirectory() as folder:
                return Path(self._api.hf_hub_download(name, path, local_dir=folder, **where)).read_bytes()

        return self._ask("reading", content, revision=revision)

    def history(self, revision: str) -> "list[GitCommitInfo]":
        """A commit and those before it, the newest first."""
        return self._ask("reading", self._api.list_repo_commits, revision=revision)

    def branches(self) -> dict[str, str]:
        """Commits by the names of their branches."""
        return {branch.name: branch.target_commit for branch in self._ask("reading", self._api.list_repo_refs).branches}

    def tags(self) -> dict[str, str]:
        """Commits by the names of their tags."""
        return {tag.name: tag.target_commit for tag in self._ask("reading", self._api.list_repo_refs).tags}

    def published_before(self, revision: str, there: Collection[str]) -> set[str]:
        """What the last publication put there.

        Raises:
            HubError: there are files, and nobody published them with us: the name is taken.

        """
        if MANIFEST in there:
            return set(json.loads(self.read(MANIFEST, revision))["files"])
        others = sorted(set(there) - set(_HEADING))
        if others:
            raise HubError(
                f"{self.name} holds files that were not published from here ({', '.join(others[:3])})", "Choose another name"
            )
        return set()

    def add_branch(self, branch: str, revision: str) -> None:
        """Let a branch be there, from that revision if it was not."""
        self._ask("making a branch of", self._api.create_branch, branch=branch, revision=revision, exist_ok=True)

    def remove_branch(self, branch: str) -> None:
        """Let a branch be gone."""

        def removed(name: str, **where: Any) -> None:
            if branch in {reference.name for reference in self._api.list_repo_refs(name, **where).branches}:
                self._api.delete_branch(name, branch=branch, **where)

        on_top_of_others(lambda: self._ask("tidying", removed))

    def add_tag(self, tag: str, revision: str) -> None:
        """Let a tag be there, at that revision if it was not."""
        self._ask("tagging", self._api.create_tag, tag=tag, revision=revision, exist_ok=True)

    def remove_tags(self, revision: str) -> None:
        """Let no tag name that commit."""

        def removed(name: str, **where: Any) -> None:
            for reference in self._api.list_repo_refs(name, **where).tags:
                if reference.target_commit == revision:
                    self._api.delete_tag(name, tag=reference.name, **where)

        on_top_of_others(lambda: self._ask("tidying", removed))

    def commit(
        self, branch: str, title: str, folder: Path, gone: Iterable[str], description: str = "", parent: str | None = None
    ) -> str:
        """Put a folder's files on a branch and take others away, in one commit on top of `parent`; its id.

        Large files go first, those that lie there already not at all.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        def operations() -> list[Any]:
            added = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=folder / name) for name in sorted(names_in(folder))]
            return added + [CommitOperationDelete(path_in_repo=path) for path in sorted(gone)]

        return self._commit(operations, branch, title, description, parent)

    def restore(self, changed: Iterable[str], before: "dict[str, RepoFile]", revision: str, title: str, parent: str) -> str:
        """Let files of main be what they were in a revision, in one commit on top of `parent`; those not `before` go."""
        from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete

        small = {path: self.read(path, revision) for path in changed if path in before and not before[path].lfs}

        def operation(path: str) -> Any:
            if path in small:
                return CommitOperationAdd(path_in_repo=path, path_or_fileobj=small[path])
            if path in before:
                return CommitOperationCopy(src_path_in_repo=path, path_in_repo=path, src_revision=revision)
            return CommitOperationDelete(path_in_repo=path)

        return self._commit(lambda: [operation(path) for path in sorted(changed)], MAIN, title, "", parent)

    def _commit(self, operations: Callable[[], list[Any]], branch: str, title: str, description: str, parent: str | None) -> str:
        def commit(name: str, **where: Any) -> str:
            made = self._api.create_commit(  # the client writes into its operations: an attempt has its own
                name,
                operations(),
                commit_message=title,
                commit_description=description,
                revision=branch,
                parent_commit=parent,
                **where,
            )
            return str(made.oid)

        return self._ask("sending files to", commit)

    def _ask(self, doing: str, call: Callable[..., Answer], **named: Any) -> Answer:
        def asked() -> Answer:
            with hub_errors(self._hub, f"{doing} {self.name}"):
                return call(self.name, repo_type=self.kind, **named)

        return patiently(asked)


def names_in(folder: Path) -> set[str]:
    """The files of a folder as a repository names them."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def holds(there: "dict[str, RepoFile]", folder: Path) -> bool:
    """Whether a revision holds every file of the folder, byte for byte, by the hashes that the Hub lists."""
    names = names_in(folder)
    return names <= there.keys() and all(_is(folder / name, there[name]) for name in names)


def _is(path: Path, listed: "RepoFile") -> bool:
    if listed.size != path.stat().st_size:
        return False
    if listed.lfs:
        return bool(file_hash(path) == listed.lfs.sha256)
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == listed.blob_id

"""A whole Hub: one folder, and everything that can be asked of it."""

from pathlib import Path

from infra.local_hub.accounts import Accounts, Viewer
from infra.local_hub.blobs import Blobs, default_gitattributes
from infra.local_hub.community import Community
from infra.local_hub.deliveries import Deliveries
from infra.local_hub.discussions import Discussions
from infra.local_hub.history import MAIN, Commit, History
from infra.local_hub.identity import EMPTY_TREE
from infra.local_hub.large_files import LargeFiles
from infra.local_hub.refusal import bad_request
from infra.local_hub.repositories import Repositories, Repository
from infra.local_hub.spaces import Spaces
from infra.local_hub.store import Store
from infra.local_hub.webhooks import Webhooks

SDKS = ("gradio", "streamlit", "docker", "static")


class Hub:
    """Accounts, repositories and what is in them, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder)
        self.accounts = Accounts(self.store)
        self.repositories = Repositories(self.store, self.accounts)
        self.large_files = LargeFiles(self.store, self.accounts)
        self.spaces = Spaces(self.store)
        self.community = Community(self.store)
        self.deliveries = Deliveries(self.store)
        self.webhooks = Webhooks(self.store, self.accounts, self.deliveries)

    def history(self, repository: Repository) -> History:
        """The history of a repository."""
        return History(self.store, repository)

    def discussions(self, repository: Repository) -> Discussions:
        """The discussions of a repository."""
        return Discussions(self.store, self.history(repository))

    def large_files_of(self, repository: Repository, commit: Commit) -> set[str]:
        """The SHA-256 of every large file in a commit."""
        oids = list(self.history(repository).trees().files(commit.tree).values())
        return {blob.sha256 for blob in Blobs(self.store, repository.id).get(oids).values() if blob.lfs and blob.sha256}

    def create(
        self,
        viewer: Viewer | None,
        kind: str,
        owner: str | None,
        name: str,
        visibility: str | None,
        sdk: str | None,
        base_url: str,
    ) -> Repository:
        """Make a repository with its first commit.

        Raises:
            Refusal: the name is taken or not allowed, the owner is another, or a Space has no SDK.

        """
        if kind == "space" and sdk not in SDKS:
            raise bad_request(f"A Space needs an sdk: one of {', '.join(SDKS)}")
        with self.store.transaction() as database:
            repository = self.repositories.create(viewer, kind, owner, name, visibility)
            history, blobs = self.history(repository), Blobs(self.store, repository.id)
            files = {".gitattributes": default_gitattributes()}
            if kind == "space":
                files["README.md"] = f"---\ntitle: {name}\nsdk: {sdk}\n---\n"
                database.execute("UPDATE repositories SET sdk = ? WHERE id = ?", [sdk, repository.id])
            changes: dict[str, str | None] = {path: blobs.add(database, text.encode()) for path, text in files.items()}
            tree = history.trees(database).edit(EMPTY_TREE, changes)
            assert viewer is not None  # noqa: S101 - `create` refused nobody
            commit = history.add_commit(database, viewer, tree, None, "initial commit", "")
            history.point(database, MAIN, commit.oid)
            self.webhooks.tell(database, repository, "create", "repo", base_url)
        return self.repositories.by_id(repository.id)

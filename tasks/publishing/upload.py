"""From a folder to a Hub, all at once.

The content goes to a branch first, where it is verified. Then one commit puts it on main (large files lie there already, so it sends
next to nothing), and a tag names it. Whoever is interrupted starts again and sends only what is missing; whoever finds that somebody
else committed meanwhile goes on from there; equal content makes no commit. What goes wrong before the tag is there is taken back.

The commit on main says which staged commit it shows: so a publication that lost the Hub's answer finds its own commit again, and taking
back touches nobody else's.
"""

from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from infra.errors import HubError, PublishingError
from infra.hub import HubConnection
from tasks.contracts import HubRevision, RepositoryKind, Upload
from tasks.publishing.repository import MAIN, Repository, holds, names_in, on_top_of_others
from tasks.publishing.screening import MANIFEST

_FINGERPRINT_LENGTH = 12


def upload(
    hub: HubConnection,
    folder: Path,
    name: str,
    kind: RepositoryKind,
    public: bool,
    content: str,
    no_secret: bool = False,
) -> Upload:
    """Put a folder on a branch of a repository, which is made if there is none.

    Args:
        hub: where to, with a token that may write.
        folder: what `screening.finish` left, with its manifest.
        name: owner/name.
        kind: what the repository holds.
        public: who may see it.
        content: the hash of the folder's content.
        no_secret: whether it may be public already although it was to be private.

    Raises:
        HubUnreachable: the Hub does not answer now; another attempt goes on.
        HubError: it refuses, or the repository is another's, or is not as private as asked.
        PublishingError: it did not take every file.

    """
    repository = Repository(hub, name, kind)
    private, _ = repository.make(private=not public)
    if private is public and (private or not no_secret):
        now, wanted = ("private", "public") if private else ("public", "private")
        raise HubError(
            f"{repository.name} is {now}, it was to be {wanted}", "Change that in its settings on the Hub, or choose another name"
        )
    return on_top_of_others(lambda: _stage(hub, repository, folder, not private, content[:_FINGERPRINT_LENGTH]))


def _stage(hub: HubConnection, repository: Repository, folder: Path, public: bool, fingerprint: str) -> Upload:
    head = repository.look()[1]
    there = repository.files(head)
    gone = repository.published_before(head, there) - names_in(folder)
    branch, revision = None, head
    if gone & there.keys() or not holds(there, folder):
        branch = _branch(fingerprint)
        repository.add_branch(branch, head)
        left = repository.files(branch).keys() - (there.keys() - gone) - names_in(folder)  # an older attempt's, or `gone`
        revision = repository.commit(branch, f"Stage {fingerprint}", folder, left)
        if not holds(repository.files(revision), folder):
            raise PublishingError(f"{repository.name} did not take every file", "Look for a .gitignore in it, and remove that")
    return Upload(
        hub=hub.name,
        repository=repository.name,
        kind=repository.kind,
        public=public,
        fingerprint=fingerprint,
        branch=branch,
        revision=revision,
        head=head,
    )


def promote(hub: HubConnection, uploaded: Upload, folder: Path, title: str) -> HubRevision:
    """Put verified content on main in one commit, tag it, and check that it is what was verified.

    Raises:
        HubUnreachable: the Hub does not answer now; another attempt goes on.
        HubMoved: others commit all the time.
        HubError: it refuses, or the tag stands for something else.
        PublishingError: main does not hold what was verified.

    """
    repository = Repository(hub, uploaded.repository, uploaded.kind)
    standing = _standing_tag(repository, uploaded, folder)
    revision = uploaded.revision
    if uploaded.branch:
        revision = on_top_of_others(lambda: _put_on_main(repository, uploaded, folder, title))
    if not holds(repository.files(revision), folder):
        raise PublishingError(f"{repository.name} at {revision} is not what was verified", "Publish it again")
    repository.remove_branch(_branch(uploaded.fingerprint))
    tag, tagged = standing or (_new_tag(uploaded), revision)
    if not standing:
        repository.add_tag(tag, revision)
        if repository.tags().get(tag) != revision:
            raise _tag_is_taken(repository, tag)
    return HubRevision(
        hub=hub.name,
        repository=repository.name,
        kind=repository.kind,
        public=uploaded.public,
        revision=tagged,
        tag=tag,
        new=uploaded.branch is not None,
    )


def is_published(hub: HubConnection, place: HubRevision, folder: Path) -> bool:
    """Whether a publication stands: its tag where it was, and every file on main.

    Raises:
        HubUnreachable: the Hub does not answer now.

    """
    repository = Repository(hub, place.repository, place.kind)
    try:
        private, head = repository.look()
        tagged = repository.tags().get(place.tag) == place.revision
        stands = head == place.revision or holds(repository.files(head), folder)
        return tagged and stands and private is not place.public
    except HubError:  # it was deleted, or is another's now: publishing tells
        return False


def withdraw(hub: HubConnection, uploaded: Upload) -> None:
    """Take an upload back: its branch, its commit on main, its tag. History keeps what was there; what others did since stays."""
    if uploaded.branch is None:
        return
    repository = Repository(hub, uploaded.repository, uploaded.kind)
    repository.remove_branch(uploaded.branch)
    on_top_of_others(lambda: _take_from_main(repository, uploaded))


def _put_on_main(repository: Repository, uploaded: Upload, folder: Path, title: str) -> str:
    head = repository.look()[1]
    ours = _own_commit(repository, uploaded, head)
    if ours:
        return ours[0]
    there = repository.files(head)
    gone = (repository.published_before(head, there) - names_in(folder)) & there.keys()
    if not gone and holds(there, folder):  # somebody published the same meanwhile
        return head
    return repository.commit(MAIN, title, folder, gone, description=_mark(uploaded), parent=head)


def _take_from_main(repository: Repository, uploaded: Upload) -> None:
    head = repository.look()[1]
    own = _own_commit(repository, uploaded, head)
    if own is None:
        return
    revision, parent = own
    now, ours, before = (repository.files(commit) for commit in (head, revision, parent))
    if MANIFEST in now and now[MANIFEST].blob_id == ours[MANIFEST].blob_id:  # or somebody published on top: theirs is whole
        blobs = [{path: file.blob_id for path, file in files.items()} for files in (now, ours, before)]
        changed = [
            path
            for path in ours.keys() | before.keys()
            if blobs[1].get(path) != blobs[2].get(path) and blobs[0].get(path) == blobs[1].get(path)
        ]
        title = f"Restore {parent[:_FINGERPRINT_LENGTH]}: {uploaded.fingerprint} was not published after all"
        repository.restore(changed, before, parent, title, head)
    repository.remove_tags(revision)


def _own_commit(repository: Repository, uploaded: Upload, head: str) -> tuple[str, str] | None:
    """The commit of main that shows this upload, and the one before it."""
    commits = repository.history(head)
    for commit, before in pairwise(commits):
        if commit.commit_id == uploaded.head:
            return None
        if _mark(uploaded) in commit.message:
            return commit.commit_id, before.commit_id
    return None


def _standing_tag(repository: Repository, uploaded: Upload, folder: Path) -> tuple[str, str] | None:
    """The tag that this content has already, and its commit.

    Raises:
        HubError: the tag that it is to have stands for something else.

    """
    tags = repository.tags()
    own = [tag for tag in tags if tag.endswith(f"-{uploaded.fingerprint}")]
    for tag in sorted(own):
        if holds(repository.files(tags[tag]), folder):
            return tag, tags[tag]
    if _new_tag(uploaded) in own:
        raise _tag_is_taken(repository, _new_tag(uploaded))
    return None


def _tag_is_taken(repository: Repository, tag: str) -> HubError:
    return HubError(f"{repository.name} has a tag {tag} already, of something else", "Delete that tag, or choose another name")


def _new_tag(uploaded: Upload) -> str:
    return f"v{datetime.now(UTC):%Y-%m-%d}-{uploaded.fingerprint}"


def _mark(uploaded: Upload) -> str:
    return f"Staged as {uploaded.revision}"


def _branch(fingerprint: str) -> str:
    return f"publication-{fingerprint}"

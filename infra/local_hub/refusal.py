"""A request that the Hub refuses, with the words and codes that its clients turn into their own errors."""

from infra.errors import VoxFactoryError


class Refusal(VoxFactoryError):
    """An HTTP answer other than success.

    Args:
        status: HTTP status.
        message: what was wrong, as the client shows it.
        code: the X-Error-Code that huggingface_hub knows: RepoNotFound, RevisionNotFound, EntryNotFound, GatedRepo.
        headers: further headers of the answer.
        **fields: further fields of the JSON body.

    """

    def __init__(
        self, status: int, message: str, code: str | None = None, headers: dict[str, str] | None = None, **fields: object
    ) -> None:
        super().__init__(message, "Correct the request")
        self.status, self.message, self.code = status, message, code
        self.headers = headers or {}
        self.fields = fields

    def __str__(self) -> str:
        return self.message


def bad_request(message: str) -> Refusal:
    """The request cannot be understood."""
    return Refusal(400, message)


def unprocessable(message: str) -> Refusal:
    """The request is understood and cannot be done."""
    return Refusal(422, message)


def unknown_revision(revision: str) -> Refusal:
    """No branch, tag or commit of that name."""
    return Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")


def unknown_entry(message: str = "Entry not found", commit: str | None = None) -> Refusal:
    """No such file or folder in the revision that is that commit."""
    return Refusal(404, message, "EntryNotFound", {"X-Repo-Commit": commit} if commit else {})

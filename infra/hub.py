"""The one door to huggingface_hub: which Hub, with which token, and what its refusals mean.

Without an endpoint and without a token, the Hub is the one in the home (`infra/local_hub`). It answers for as long as a connection is
open, and the token for it lives in memory only, for as long as that.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from json import JSONDecodeError
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import SecretStr

from infra.errors import HubError, HubMoved, HubUnreachable, SettingsError
from infra.redaction import redacted, redacted_errors, remember
from infra.settings import PUBLIC_HUB, Settings

if TYPE_CHECKING:
    from httpx2 import Client
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    from infra.local_hub.hub import Hub
    from infra.local_hub.repositories import Repository

LOCAL_HUB = "the local Hub"
_LARGE_FILES = "SELECT repository, sha256 FROM holdings UNION SELECT repository, sha256 FROM blobs WHERE sha256 IS NOT NULL"
_LOCAL = "local"  # as an endpoint
_PASSING = (408, 429)  # HTTP status: time-out, too many requests
_SERVER_ERROR, _NO_ROOM = 500, 507
_ANOTHER_STATE = 412  # somebody else committed meanwhile
_TOKEN_HOURS = 24.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")

_silence_s: float | None = None  # how long our clients wait for a word; None until they are ours


@dataclass(frozen=True)
class HubConnection:
    """A Hub and who we are there."""

    endpoint: str
    token: SecretStr
    read_token: SecretStr
    local: bool

    @property
    def name(self) -> str:
        """The Hub in words for people: an address, or `the local Hub`, whose address changes."""
        return LOCAL_HUB if self.local else self.endpoint

    def api(self) -> "HfApi":
        """A client that may write."""
        from huggingface_hub import HfApi

        return HfApi(endpoint=self.endpoint, token=self.token.get_secret_value(), library_name="voxfactory")

    def offline_environment(self, cache: Path) -> dict[str, str]:
        """For a child process that may use what lies in a cache of its own, and has nobody to ask."""
        return {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "1"}

    def reading_environment(self, cache: Path) -> dict[str, str]:
        """For a child process that only reads, with a cache of its own."""
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_TOKEN": self.read_token.get_secret_value(),
            "HF_HOME": str(cache),
            "HF_HUB_OFFLINE": "0",
        } | ({} if _has_xet(self.endpoint) else {"HF_HUB_DISABLE_XET": "1"})


class Source(NamedTuple):
    """Where to download from, and with which token; False is nobody."""

    endpoint: str
    token: str | bool
    name: str


@contextmanager
def source_of(settings: Settings, kind: str, repository: str) -> Iterator[Source]:
    """Where a `model` or `dataset` of that id is: on the configured Hub; else on the local one if that has it, else on the public one."""
    token = settings.hub_read_token or settings.hub_token or _stored_token()
    remember(token)
    if not _is_local(settings, token):
        endpoint = (settings.hub_endpoint or PUBLIC_HUB).rstrip("/")
        with _clients_for(settings, endpoint):
            yield Source(endpoint, token.get_secret_value() if token else False, endpoint)
    elif open_local_hub(settings).repositories.named(kind, repository):
        with _local(settings) as hub:
            yield Source(hub.endpoint, hub.read_token.get_secret_value(), LOCAL_HUB)
    else:
        with _clients_for(settings, PUBLIC_HUB):
            yield Source(PUBLIC_HUB, token.get_secret_value() if token else False, PUBLIC_HUB)


def _is_local(settings: Settings, token: SecretStr | None) -> bool:
    return settings.hub_endpoint == _LOCAL or (token is None and settings.hub_endpoint is None)


@contextmanager
def connection(settings: Settings) -> Iterator[HubConnection]:
    """Connect to the configured Hub, or serve the local one while the block runs.

    Raises:
        SettingsError: an endpoint without a token.

    """
    token = settings.hub_token or _stored_token()
    if _is_local(settings, token):
        with _local(settings) as local:
            yield local
        return
    if token is None:
        raise SettingsError(
            f"There is no token for {settings.hub_endpoint}",
            "Set VOXFACTORY_HUB_TOKEN or run `hf auth login`; unset VOXFACTORY_HUB_ENDPOINT and HF_ENDPOINT to use the local Hub",
        )
    remember(token, settings.hub_read_token)
    endpoint = (settings.hub_endpoint or PUBLIC_HUB).rstrip("/")
    with _clients_for(settings, endpoint):
        yield HubConnection(endpoint, token, settings.hub_read_token or token, local=False)


def local_hub_folder(settings: Settings) -> Path:
    """Where the local Hub keeps its things."""
    return settings.folder("hub")


def open_local_hub(settings: Settings) -> "Hub":
    """The local Hub's store, with its one user."""
    from infra.local_hub.hub import Hub

    hub = Hub(local_hub_folder(settings))
    hub.accounts.create(settings.hub_user)
    return hub


def local_repositories(settings: Settings, holds: Callable[[Path], bool], quotes: Callable[[bytes], bool]) -> "list[Repository]":
    """The repositories of the local Hub of which, in any revision, a large file holds something, or a small one quotes it."""
    if not (local_hub_folder(settings) / "hub.sqlite3").exists():
        return []
    hub = open_local_hub(settings)
    large = {path.name for path in (hub.store.folder / "files").glob("*/*") if holds(path)}
    found = {row["repository"] for row in hub.store.read(_LARGE_FILES) if row["sha256"] in large}
    small = hub.store.database.execute("SELECT repository, content FROM blobs WHERE content IS NOT NULL")  # one at a time
    found |= {row["repository"] for row in small if quotes(bytes(row["content"]))}
    return sorted(map(hub.repositories.by_id, found), key=lambda repository: (repository.kind, repository.path))


def delete_local_repository(settings: Settings, repository: "Repository") -> None:
    """Delete a repository of the local Hub, all its revisions, and the bytes that only it held."""
    hub = open_local_hub(settings)
    hub.repositories.delete(repository)
    hub.store.sweep()


@contextmanager
def _local(settings: Settings) -> Iterator[HubConnection]:
    from infra.local_hub.server import serving

    accounts = open_local_hub(settings).accounts
    token, read_token = (
        accounts.add_token(settings.hub_user, role, label="a command of voxfactory", hours=_TOKEN_HOURS)
        for role in ("write", "read")
    )
    remember(SecretStr(token), SecretStr(read_token))
    try:
        with serving(local_hub_folder(settings)) as hub, _clients_for(settings, hub.url):
            yield HubConnection(hub.url, SecretStr(token), SecretStr(read_token), local=True)
    finally:
        for done in (token, read_token):
            accounts.remove_token(done)


@contextmanager
def _clients_for(settings: Settings, endpoint: str) -> Iterator[None]:
    """Let huggingface_hub, which reads its settings when it is imported, speak to this Hub while the block runs.

    It waits no longer than `hub_timeout_s` for a word of the Hub. A Hub on this machine answers when the machine is offline.
    """
    from huggingface_hub import constants, set_client_factory
    from huggingface_hub.utils.tqdm import disable_progress_bars

    global _silence_s
    disable_progress_bars()
    if _silence_s != settings.hub_timeout_s:
        _silence_s = settings.hub_timeout_s
        set_client_factory(_client)
    template = f"{endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    wanted: dict[str, Any] = {"ENDPOINT": endpoint, "HUGGINGFACE_CO_URL_TEMPLATE": template}
    if not _has_xet(endpoint):
        wanted["HF_HUB_DISABLE_XET"] = True
    if urlsplit(endpoint).hostname in _LOOPBACK:
        wanted["HF_HUB_OFFLINE"] = False
    before = {name: getattr(constants, name) for name in wanted}
    for name, value in wanted.items():
        setattr(constants, name, value)
    try:
        with redacted_errors():
            yield
    finally:
        for name, value in before.items():
            setattr(constants, name, value)


def _client() -> "Client":
    """huggingface_hub's own HTTP client, but for its patience, which has no end."""
    from huggingface_hub.utils._http import default_client_factory

    client = default_client_factory()
    client.timeout = _silence_s
    return client


def _has_xet(endpoint: str) -> bool:
    """Xet storage stands behind HTTPS; a Hub on plain HTTP is ours, here or on another machine, and has none."""
    return urlsplit(endpoint).scheme == "https"


def _stored_token() -> SecretStr | None:
    from huggingface_hub import get_token

    token = get_token()
    return SecretStr(token) if token else None


def check_right_to_write(hub: HubConnection, repository: str) -> str:
    """Ask who we are and whether our token may write to owner/name, or to our own name; the full owner/name.

    Raises:
        HubError: the token is unknown, only reads, or is for another owner.

    """
    with hub_errors(hub, "whoami"):
        who = hub.api().whoami()
    if hub.read_token != hub.token:
        with hub_errors(hub, "whoami with the token that only reads"):
            hub.api().whoami(token=hub.read_token.get_secret_value())
    owner, _, name = repository.rpartition("/")
    owner = owner or who["name"]
    token = who["auth"]["accessToken"]
    advice = "Make one with write rights in the Hub's settings, and set VOXFACTORY_HUB_TOKEN"
    if token["role"] == "read":
        raise HubError(f"The token {token['displayName']!r} of {who['name']} may only read", advice)
    own = [who["name"], *(org["name"] for org in who["orgs"] if org.get("roleInOrg") != "read")]
    if owner.lower() not in {one.lower() for one in own}:
        raise HubError(f"{who['name']} may not write to {owner}, only to {', '.join(own)}", "Choose one of them as the owner")
    if token["role"] == "fineGrained" and not _grants(token.get("fineGrained") or {}, owner, name):
        raise HubError(f"The token {token['displayName']!r} does not grant repo.write for {owner}/{name}", advice)
    return f"{owner}/{name}"


def _grants(rights: dict[str, Any], owner: str, name: str) -> bool:
    """Whether a fine-grained token may write to everything of the owner, or to this repository."""
    places = {owner.lower(), f"{owner}/{name}".lower()}
    return any(
        "repo.write" in scope.get("permissions", []) and scope.get("entity", {}).get("name", "").lower() in places
        for scope in rights.get("scoped", [])
    )


@contextmanager
def hub_errors(hub: HubConnection | Source, doing: str) -> Iterator[None]:
    """Turn what the clients raise into our errors: what may heal is HubUnreachable.

    Raises:
        HubUnreachable: no answer, half of one, or the Hub says that it cannot now.
        HubMoved: somebody else changed the repository meanwhile.
        HubError: it refuses, or what it was asked for is no name or no address.

    """
    from httpx2 import HTTPError, InvalidURL
    from huggingface_hub.errors import EntryNotFoundError

    try:
        yield
    except (HTTPError, InvalidURL, OSError, RuntimeError, ValueError, EntryNotFoundError) as error:
        meant = _meant(hub, doing, error)
        if meant is None:
            raise
        raise meant from error


def _meant(hub: HubConnection | Source, doing: str, error: BaseException) -> HubError | HubUnreachable | None:
    """What an error of the clients says; None if it is not about the Hub."""
    from httpx2 import HTTPError, InvalidURL, UnsupportedProtocol
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    if isinstance(error, HfHubHTTPError):
        return _translated(hub, doing, error)
    if isinstance(error, OfflineModeIsEnabled):
        return HubError(f"{hub.name} is not asked ({doing}): HF_HUB_OFFLINE is set", "Unset it and run the command again")
    if isinstance(error, InvalidURL | UnsupportedProtocol):
        return HubError(f"{hub.endpoint} is no address of a Hub ({doing})", "Correct VOXFACTORY_HUB_ENDPOINT")
    if isinstance(error, HTTPError | ConnectionError | TimeoutError):
        return _unanswered(hub, doing, type(error).__name__)
    if isinstance(error, HFValidationError):
        return HubError(f"The Hub takes no such name ({doing}): {_first_line(error)}", "Choose another name")
    inner = _meant(hub, doing, error.__cause__) if error.__cause__ else None  # of LFS uploads and of downloads
    if inner:
        return inner
    if isinstance(error, JSONDecodeError) or (isinstance(error, OSError) and error.errno is None):
        return _unanswered(hub, doing, _first_line(error))  # not JSON, or a file that came in half
    if isinstance(error, EntryNotFoundError):
        return HubMoved(f"{hub.name} lacks a file ({doing}): {_first_line(error)}", "Run the command again")
    if isinstance(error, ValueError) and "LFS batch API returned errors" in str(error):
        return HubError(f"{hub.name} refuses ({doing}): {' '.join(str(error).split())}", "Correct what it says and run it again")
    return None


def _unanswered(hub: HubConnection | Source, doing: str, how: str) -> HubUnreachable:
    return HubUnreachable(f"{hub.name} did not answer ({doing}): {how}", "Check the network and try again")


def _retry_after_s(error: "HfHubHTTPError") -> float:
    """For how long the Hub asked to be left alone; its other form, a date, is not used by Hubs."""
    said = error.response.headers.get("Retry-After", "")
    return float(said) if said.isdigit() else 0.0


def _first_line(error: BaseException) -> str:
    return redacted(next(iter(str(error).strip().splitlines()), type(error).__name__).strip().rstrip("."))


def _translated(hub: HubConnection | Source, doing: str, error: "HfHubHTTPError") -> HubError | HubUnreachable:
    from huggingface_hub.errors import RevisionNotFoundError

    status = error.response.status_code
    said = redacted(error.server_message or _first_line(error)).strip().rstrip(".")
    where = f"{hub.name} refuses ({doing}) with {status}: {said}"
    if status in _PASSING or (status >= _SERVER_ERROR and status != _NO_ROOM):
        later = HubUnreachable(f"{hub.name} cannot answer now ({doing}): {status} {said}", "Run the command again later")
        later.retry_after_s = _retry_after_s(error)
        return later
    if status == _ANOTHER_STATE or isinstance(error, RevisionNotFoundError):
        return HubMoved(where, "Run the command again: it goes on from what is there now")
    fixes = {
        401: "Set VOXFACTORY_HUB_TOKEN to a token that is still good, or run `hf auth login`",
        403: "Use a token with the right to write there, or free storage if a quota is named",
        404: "Name a repository that exists and that the token may see",
        409: "Choose another name",
        _NO_ROOM: "Free storage there, or publish to another owner",
    }
    return HubError(where, fixes.get(status, "Correct what it says and run the command again"))

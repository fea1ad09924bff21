"""Webhooks: what happened to a repository, told to whoever asked.

An event is written in the transaction that it tells of, so it is neither lost nor invented. Each delivery carries the webhook's secret as
the Hub sends it (X-Webhook-Secret), and an HMAC-SHA256 of its body with that secret (X-Webhook-Signature).
"""

import json
import re
import secrets
import sqlite3
from collections.abc import Sequence
from typing import Any

from infra.local_hub.accounts import Accounts, Viewer
from infra.local_hub.deliveries import Deliveries
from infra.local_hub.fields import Fields
from infra.local_hub.refusal import Refusal, bad_request
from infra.local_hub.repositories import Repository
from infra.local_hub.store import Store

RefChange = tuple[str, str | None, str | None]  # reference, commit before, commit after
_DOMAINS = ("repo", "discussion")
_SECRET = re.compile(r"(?! )[\x20-\x7e]{1,1024}(?<! )")
_LONGEST_URL, _LONGEST_HOST, _LAST_PORT = 2048, 253, 65535
_VERSION = 3


class Webhooks:
    """The webhooks of a Hub."""

    def __init__(self, store: Store, accounts: Accounts, deliveries: Deliveries) -> None:
        self._store, self._accounts, self._deliveries = store, accounts, deliveries

    def save(self, viewer: Viewer, fields: Fields, identity: str | None = None) -> dict[str, Any]:
        """Make or change a webhook; what is not sent stays as it is.

        Raises:
            Refusal: neither a url nor a job, nothing watched, or a url or secret that no request can carry; or no such webhook.

        """
        url, job = fields.optional_text("url"), fields.optional_text("jobSourceId")
        watched = [{"type": item.text("type"), "name": item.text("name")} for item in fields.objects("watched")]
        domains, secret, disabled = fields.texts("domains") or [*_DOMAINS], fields.optional_text("secret"), False
        if identity:
            before = self.get(viewer, identity)
            url, job = (url, job) if url or job else (before["url"], (before["job"] or {}).get("id"))
            watched = watched if "watched" in fields else before["watched"]
            domains = domains if "domains" in fields else before["domains"]
            secret = secret if "secret" in fields else before["secret"]
            disabled = before["disabled"]
        elif "watched" not in fields:
            raise bad_request("A webhook watches a list of {type, name}")
        _check(url, job, watched, domains, secret)
        identity = identity or secrets.token_hex(12)
        with self._store.transaction() as database:
            database.execute(
                "INSERT INTO webhooks VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET url = excluded.url, "
                "job = excluded.job, watched = excluded.watched, domains = excluded.domains, secret = excluded.secret",
                [identity, viewer.id, url, job, json.dumps(watched), json.dumps(domains), secret, disabled],
            )
        return self.get(viewer, identity)

    def get(self, viewer: Viewer, identity: str) -> dict[str, Any]:
        """One webhook of the viewer.

        Raises:
            Refusal: there is none.

        """
        row = self._store.first("SELECT * FROM webhooks WHERE id = ? AND account = ?", [identity, viewer.id])
        if row is None:
            raise Refusal(404, f"Webhook not found: {identity}")
        return _shown(row)

    def all(self, viewer: Viewer) -> list[dict[str, Any]]:
        """The viewer's webhooks."""
        return [_shown(row) for row in self._store.read("SELECT * FROM webhooks WHERE account = ?", [viewer.id])]

    def disable(self, viewer: Viewer, identity: str, disabled: bool) -> dict[str, Any]:
        """Stop a webhook, or let it go on."""
        self.get(viewer, identity)
        with self._store.transaction() as database:
            database.execute("UPDATE webhooks SET disabled = ? WHERE id = ?", [disabled, identity])
        return self.get(viewer, identity)

    def remove(self, viewer: Viewer, identity: str) -> None:
        """Delete a webhook and what it still had to deliver."""
        self.get(viewer, identity)
        with self._store.transaction() as database:
            database.execute("DELETE FROM webhooks WHERE id = ?", [identity])

    def tell(
        self,
        database: sqlite3.Connection,
        repository: Repository,
        action: str,
        scope: str,
        base_url: str,
        changes: Sequence[RefChange] = (),
    ) -> None:
        """Write an event for everyone who watches the repository, inside the transaction that made it happen."""
        for row in self._store.read("SELECT * FROM webhooks WHERE disabled = 0 AND url IS NOT NULL"):
            if self._watches(row, repository, scope):
                self._deliveries.add(database, row["id"], _event(repository, action, scope, base_url, changes, row["id"]))

    def _watches(self, row: sqlite3.Row, repository: Repository, scope: str) -> bool:
        domain = "discussion" if scope.startswith("discussion") else "repo"
        if domain not in json.loads(row["domains"]):
            return False
        owner = self._store.read("SELECT * FROM accounts WHERE id = ?", [row["account"]])[0]
        if repository.private and not self._accounts.belongs(
            Viewer(owner["id"], owner["name"], "read", "", ""), repository.owner
        ):
            return False
        names = {
            repository.kind: repository.path.lower(),
            "user": repository.owner_name.lower(),
            "org": repository.owner_name.lower(),
        }
        return any(names.get(str(w["type"])) == str(w["name"]).lower() for w in json.loads(row["watched"]))


def _check(url: str | None, job: str | None, watched: list[dict[str, str]], domains: list[str], secret: str | None) -> None:
    if not all(item["type"] and item["name"] for item in watched):
        raise bad_request("A webhook watches a list of {type, name}")
    if not set(domains) <= set(_DOMAINS):
        raise bad_request(f"The domains of a webhook are {' and '.join(_DOMAINS)}")
    if secret and not _SECRET.fullmatch(secret):
        raise bad_request("The secret of a webhook is 1 to 1024 printable ASCII characters")
    if url is None and job is None:
        raise bad_request("A webhook needs a url or a job")
    if url is not None and not _is_http(url):
        raise bad_request(f"A webhook's url is an http address: {url[:200]!r}")


def _is_http(url: str) -> bool:
    import httpx

    try:
        parsed = httpx.URL(url)
        host = parsed.raw_host
    except (httpx.InvalidURL, ValueError):
        return False
    reachable = 0 < len(host) <= _LONGEST_HOST and 0 < (parsed.port or 1) <= _LAST_PORT
    return parsed.scheme in ("http", "https") and reachable and len(url) <= _LONGEST_URL


def _event(repository: Repository, action: str, scope: str, base_url: str, changes: Sequence[RefChange], webhook: str) -> str:
    described: dict[str, Any] = {
        "type": repository.kind,
        "name": repository.path,
        "id": repository.id,
        "private": repository.private,
        "owner": {"id": repository.owner},
        "tags": [],
        "url": {"web": f"{base_url}/{repository.address}", "api": f"{base_url}/api/{repository.kind}s/{repository.path}"},
    }
    heads = [after for reference, _, after in changes if reference == "refs/heads/main" and after]
    if heads:
        described["headSha"] = heads[-1]
    event: dict[str, Any] = {
        "event": {"action": action, "scope": scope},
        "repo": described,
        "webhook": {"id": webhook, "version": _VERSION},
    }
    if changes:
        event["updatedRefs"] = [{"ref": name, "oldSha": before, "newSha": after} for name, before, after in changes]
    return json.dumps(event)


def _shown(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "url": row["url"],
        "job": {"id": row["job"]} if row["job"] else None,
        "watched": json.loads(row["watched"]),
        "domains": json.loads(row["domains"]),
        "secret": row["secret"],
        "disabled": bool(row["disabled"]),
    }

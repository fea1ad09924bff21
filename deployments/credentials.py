"""Secrets that the factory needs for itself on one machine: made on first use, kept in the home for its owner alone.

Settings come first: whoever sets one decides it.
"""

import json
import secrets
from pathlib import Path

from pydantic import SecretStr

from infra.redaction import remember
from infra.settings import Settings
from infra.storage import exclusive, write_json

_FILE = "credentials.json"
_USER = "factory"


def prefect_auth(settings: Settings) -> SecretStr:
    """`user:password` of the Prefect server that `voxfactory up` starts."""
    return settings.prefect_auth or _kept(settings, "prefect_auth", f"{_USER}:{secrets.token_urlsafe(24)}")


def known_prefect_auth(settings: Settings) -> SecretStr | None:
    """The same, if there is one: servers of others may need none."""
    kept = _read(settings).get("prefect_auth")
    known = settings.prefect_auth or (SecretStr(kept) if kept else None)
    remember(known)
    return known


def webhook_secret(settings: Settings) -> SecretStr:
    """What a Hub sends with its deliveries."""
    return settings.webhook_secret or _kept(settings, "webhook_secret", secrets.token_urlsafe(32))


def _kept(settings: Settings, name: str, new: str) -> SecretStr:
    with exclusive(settings.folder("prefect") / f".{_FILE}.lock"):
        known = _read(settings)
        if name not in known:
            known[name] = new
            write_json(credentials_file(settings), known, mode=0o600)
    secret = SecretStr(known[name])
    remember(secret)
    return secret


def _read(settings: Settings) -> dict[str, str]:
    path = credentials_file(settings)
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def credentials_file(settings: Settings) -> Path:
    """Where they are kept."""
    return settings.folder("prefect") / _FILE

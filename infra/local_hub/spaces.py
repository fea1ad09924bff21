"""What a Space has besides its files: variables, secrets, and a runtime."""

import json
import sqlite3
from typing import Any

from infra.local_hub.fields import Fields
from infra.local_hub.refusal import bad_request
from infra.local_hub.repositories import Repository
from infra.local_hub.store import Store, now

_NO_APP, _BUILDING, _PAUSED = "NO_APP_FILE", "BUILDING", "PAUSED"


class Spaces:
    """Variables, secrets and runtimes of all Spaces of a Hub."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def set_value(self, database: sqlite3.Connection, space: Repository, kind: str, fields: Fields) -> None:
        """Set a variable or a secret.

        Raises:
            Refusal: no key, or no value.

        """
        key, value = fields.text("key"), fields.optional_text("value")
        if not key.isidentifier() or value is None:
            raise bad_request(f"A {kind} needs a key of letters, digits and '_', and a value")
        database.execute(
            "INSERT OR REPLACE INTO space_values VALUES (?, ?, ?, ?, ?, ?)",
            [space.id, kind, key, value, fields.text("description"), now()],
        )

    def remove_value(self, database: sqlite3.Connection, space: Repository, kind: str, key: str) -> None:
        """Delete a variable or a secret, if it is there."""
        database.execute("DELETE FROM space_values WHERE repository = ? AND kind = ? AND key = ?", [space.id, kind, key])

    def shown_values(self, space: Repository, kind: str) -> dict[str, dict[str, str]]:
        """By key; the value of a secret is never shown."""
        rows = self._store.read("SELECT * FROM space_values WHERE repository = ? AND kind = ? ORDER BY key", [space.id, kind])
        return {
            row["key"]: {"key": row["key"], "description": row["description"], "updatedAt": row["updated"]}
            | ({"value": row["value"]} if kind == "variable" else {})
            for row in rows
        }

    def environment(self, space: Repository) -> dict[str, str]:
        """Variables and secrets for the process that runs the Space; not for any answer of the Hub."""
        rows = self._store.read("SELECT key, value FROM space_values WHERE repository = ? ORDER BY kind DESC", [space.id])
        return {row["key"]: row["value"] for row in rows}

    def change_runtime(self, database: sqlite3.Connection, space: Repository, **values: Any) -> None:
        """Set stage, hardware, sleep_s, volumes (a list) or log."""
        current = self._runtime(space) | values
        database.execute(
            "INSERT OR REPLACE INTO space_runtimes VALUES (?, ?, ?, ?, ?, ?)",
            [space.id, current["stage"], current["hardware"], current["sleep_s"], json.dumps(current["volumes"]), current["log"]],
        )

    def noticed_commit(self, database: sqlite3.Connection, space: Repository) -> None:
        """New files: whoever runs the Space has to build it again."""
        if self._runtime(space)["stage"] != _PAUSED:
            self.change_runtime(database, space, stage=_BUILDING)

    def runtime(self, space: Repository, base_url: str) -> dict[str, Any]:
        """As the Hub shows it."""
        current = self._runtime(space)
        shown: dict[str, Any] = {
            "stage": current["stage"],
            "hardware": {"current": current["hardware"], "requested": current["hardware"]},
            "storage": None,
            "devMode": False,
            "replicas": {"current": 1, "requested": 1},
            "volumes": current["volumes"],
            "domains": [{"domain": f"{space.owner_name}-{space.name}".lower(), "stage": "READY"}],
        }
        return shown | ({"gcTimeout": current["sleep_s"]} if current["sleep_s"] is not None else {})

    def log(self, space: Repository) -> str:
        """What the Space last printed."""
        return str(self._runtime(space)["log"])

    def _runtime(self, space: Repository) -> dict[str, Any]:
        row = self._store.first("SELECT * FROM space_runtimes WHERE repository = ?", [space.id])
        if row is None:
            return {"stage": _NO_APP, "hardware": None, "sleep_s": None, "volumes": [], "log": ""}
        return dict(row) | {"volumes": json.loads(row["volumes"])}

"""Deliveries of webhooks: each is tried again, after ever longer waits, until its receiver takes it; for about a day.

One thread delivers, the longest due first, and gives each delivery ten seconds in all. Whoever takes long to refuse puts off all that waits
for the same receiver for as long, so that the others are not kept waiting by it.
"""

import asyncio
import hashlib
import hmac
import sqlite3
import threading
import time
from typing import Any

from infra.local_hub.store import Store

_FIRST_WAIT_S, _LONGEST_WAIT_S, _TIMEOUT_S, _POLL_S = 1.0, 600.0, 10.0, 1.0
_ATTEMPTS = 150  # the first ten within 20 minutes, the others every ten minutes


class Deliveries:
    """What webhooks are still to be told, and the thread that tells them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._news, self._stopped = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._deliver_for_ever, name="webhooks", daemon=True)

    def add(self, database: sqlite3.Connection, webhook: str, body: str) -> None:
        """Tell a webhook (by id) of something, once the transaction is through."""
        database.execute("INSERT INTO deliveries (webhook, body, due) VALUES (?, ?, ?)", [webhook, body, time.time()])
        self._news.set()

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def stop(self) -> None:
        """Stop delivering; what is left is delivered after the next start."""
        self._stopped.set()
        self._news.set()
        self._thread.join()

    def _deliver_for_ever(self) -> None:
        import httpx

        with asyncio.Runner() as runner:
            client = httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False)
            while not self._stopped.is_set():
                self._news.wait(_POLL_S)
                self._news.clear()
                try:
                    self._deliver_all(runner, client)
                except sqlite3.OperationalError:  # a full disk, or a database that others kept for a minute
                    self._stopped.wait(_TIMEOUT_S)
            runner.run(client.aclose())

    def _deliver_all(self, runner: asyncio.Runner, client: Any) -> None:
        while not self._stopped.is_set() and (row := self._claim()):
            started = time.monotonic()
            failure = runner.run(_failure(client, row))
            self._settle(row, failure, time.monotonic() - started)

    def _claim(self) -> sqlite3.Row | None:
        """The next delivery that is due; no other server takes it while this one tries."""
        with self._store.transaction() as database:
            row = self._store.first(
                "SELECT deliveries.*, url, secret FROM deliveries JOIN webhooks ON webhooks.id = webhook "
                "WHERE due <= ? AND disabled = 0 ORDER BY due, deliveries.id LIMIT 1",
                [time.time()],
            )
            if row:
                database.execute("UPDATE deliveries SET due = ? WHERE id = ?", [time.time() + 3 * _TIMEOUT_S, row["id"]])
            return row

    def _settle(self, row: sqlite3.Row, failure: str | None, took_s: float) -> None:
        with self._store.transaction() as database:
            if failure is None or row["attempts"] + 1 >= _ATTEMPTS:
                database.execute("DELETE FROM deliveries WHERE id = ?", [row["id"]])
                return
            database.execute("UPDATE deliveries SET due = MAX(due, ?) WHERE webhook = ?", [time.time() + took_s, row["webhook"]])
            wait_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** row["attempts"])
            database.execute(
                "UPDATE deliveries SET attempts = attempts + 1, due = ?, failure = ? WHERE id = ?",
                [time.time() + wait_s, failure, row["id"]],
            )


async def _failure(client: Any, row: sqlite3.Row) -> str | None:
    """Deliver once, in the time that there is for it in all; why it failed, or None. Only the status of the answer is looked at."""
    import httpx

    headers = {"Content-Type": "application/json"}
    if row["secret"]:
        signature = hmac.new(row["secret"].encode(), row["body"].encode(), hashlib.sha256).hexdigest()
        headers |= {"X-Webhook-Secret": row["secret"], "X-Webhook-Signature": f"sha256={signature}"}
    try:
        async with asyncio.timeout(_TIMEOUT_S), client.stream("POST", row["url"], content=row["body"], headers=headers) as answer:
            return None if answer.is_success else f"HTTP {answer.status_code}"
    except (TimeoutError, httpx.HTTPError, httpx.InvalidURL, ValueError, OverflowError) as error:
        return type(error).__name__

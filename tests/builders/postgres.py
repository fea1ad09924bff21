"""A Postgres server of its own for tests: Debian's, where it is installed."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.processes import free_port, start, stop

_PROGRAMS = Path("/usr/lib/postgresql")  # Debian puts them where no PATH leads
_OWNER = "postgres"  # Postgres refuses to run as root
_PASSWORD = "of-tests"
_STOP_S = 30.0


def postgres_programs() -> Path | None:
    """The folder of initdb and postgres."""
    found = [*_PROGRAMS.glob("*/bin/initdb"), *([Path(known)] if (known := shutil.which("initdb")) else [])]
    return found[-1].parent if found else None


@contextmanager
def running_postgres(programs: Path) -> Iterator[str]:
    """Its URL, for SQLAlchemy with asyncpg; all of it is gone afterwards."""
    user = _OWNER if os.geteuid() == 0 else None
    folder, port = Path(tempfile.mkdtemp(prefix="postgres-")), free_port()
    try:
        (folder / "password").write_text(_PASSWORD)
        if user:
            for path in (folder, folder / "password"):
                shutil.chown(path, user)
        data = folder / "data"
        made = [programs / "initdb", "-D", data, "-U", "factory", "-A", "scram-sha-256", "--pwfile", folder / "password"]
        subprocess.run(made, user=user, check=True, capture_output=True, cwd=folder)
        asked = [programs / "postgres", "-D", data, "-p", str(port), "-k", folder, "-c", "listen_addresses=127.0.0.1"]
        as_owner = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups"] if user else []
        with (folder / "log").open("wb") as log:
            server = start([*as_owner, *map(str, asked)], {}, log)
        try:
            yield f"postgresql+asyncpg://factory:{_PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            stop(server, _STOP_S)
    finally:
        shutil.rmtree(folder)

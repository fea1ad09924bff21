"""Run huggingface_hub's own tests against the local hub: `python -m tests.conformance [PYTEST ARGUMENTS]`.

Prints how many of the server-facing tests pass, and exits with 1 when they are fewer than 95 %, when a test fails that
`expected.toml` does not name, or when one that it names passes. With arguments (`-k discussion`) only part of the suite is run.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import pytest
from rich.console import Console
from rich.table import Table

from infra.local_hub.server import ServedHub, serving
from infra.settings import settings
from tests.conformance.source import PACKAGE, fetch_tests, installed, lay_out
from tests.conformance.verdict import SERVER_FACING, Group, Outcome, Verdict, judge, read_groups, told

_HERE = Path(__file__).parent
_LONGEST_TEST_S = 120
_LOG = "pytest.log"


def main(arguments: list[str]) -> int:
    """Everything; the exit status."""
    cache = settings().folder("conformance")
    record = cache / "outcomes.jsonl"
    record.unlink(missing_ok=True)
    with TemporaryDirectory(prefix="voxfactory-conformance-") as scratch:
        status = _run(Path(scratch), fetch_tests(cache), record, arguments)
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        sys.stderr.write(f"pytest ended with {status}: {record.parent / _LOG}\n")
        return 1
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    outcomes = [Outcome(line["test"], line["outcome"], line["requests"], line["public"], line["reason"]) for line in lines]
    groups = read_groups(_HERE / "expected.toml")
    verdict = judge(outcomes, groups, whole=not arguments)
    _print(verdict, groups, record)
    return 0 if verdict.good or (arguments and not verdict.unexpected and not verdict.stale) else 1


def _run(folder: Path, tests: Path, record: Path, arguments: list[str]) -> int:
    modules = lay_out(tests, folder / "suite")
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "work").mkdir()
    with serving(folder / "hub") as hub:
        environment = _environment(hub.url, folder, record)
        _seed(hub, folder / "suite" / PACKAGE / "testing_constants.py", environment)
        options = ["-q", "--no-header", "--tb=short", "-c", str(folder / "pytest.ini"), "--rootdir", str(folder / "suite")]
        options += ["-p", "tests.conformance.plugin", "-p", "no:cacheprovider", f"--timeout={_LONGEST_TEST_S}"]
        options += ["--basetemp", str(folder / "temporary"), "--show-capture=no"]
        command = [sys.executable, "-m", "pytest", *options, *arguments, *map(str, modules)]
        with (record.parent / _LOG).open("w") as log:
            return subprocess.run(command, cwd=folder / "work", env=environment, stdout=log, stderr=log, check=False).returncode


def _environment(hub: str, folder: Path, record: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    return kept | {
        "HF_ENDPOINT": hub,
        "HF_HOME": str(folder / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "CONFORMANCE_RECORD": str(record.resolve()),
        "PYTHONPATH": str(_HERE.parents[1]),
    }


def _seed(hub: ServedHub, constants: Path, environment: dict[str, str]) -> None:
    os.environ.update(environment | {"HF_HUB_DISABLE_PROGRESS_BARS": "1"})  # huggingface_hub reads it when it is imported
    from tests.conformance.seeds import seed_accounts, seed_repositories

    seed_accounts(hub.accounts, _loaded(constants))
    seed_repositories(hub.accounts, hub.url)


def _loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("testing_constants", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _print(verdict: Verdict, groups: list[Group], record: Path) -> None:
    console = Console(soft_wrap=True, markup=False, highlight=False)
    table = Table(title=f"huggingface_hub {installed()}: its own tests against the local hub")
    table.add_column("tests")
    for heading in ("run", "passed", "failed"):
        table.add_column(heading, justify="right")
    for name, outcomes in sorted(verdict.rows.items(), key=lambda row: row[0] != SERVER_FACING):
        _add_row(table, name, outcomes)
    table.add_section()
    for name, outcomes in verdict.apart.items():
        _add_row(table, name, outcomes)
    console.print(table)
    for outcome in verdict.unexpected:
        console.print(f"NOT EXPECTED {outcome.test}\n    {outcome.reason[:300]}")
    for stale in verdict.stale:
        console.print(f"STALE in expected.toml: {stale}")
    console.print(*told(verdict, groups), f"Details: {record}", sep="\n")


def _add_row(table: Table, name: str, outcomes: list[Outcome]) -> None:
    counts = [sum(outcome.outcome == wanted for outcome in outcomes) for wanted in ("passed", "failed")]
    table.add_row(name, str(len(outcomes)), *map(str, counts))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What came of the tests, held against what was expected of them.

`expected.toml` names every test that does not pass, in groups with a reason, of three kinds. `failing` tests count against the share
of server-facing tests that pass. `elsewhere` ones ask for what no Hub with seeded accounts has: a service, contents or the size of
huggingface.co. `empty` ones pass for nothing, because what they look at is not there. The latter two are reported apart. The verdict is
bad when the share is too small, when a test fails that is not named, and when a named test comes out otherwise or is gone: then the
list is stale.
"""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WANTED_SHARE = 0.95
_FOR_NOTHING = "pass, but for nothing, and are not counted either"
SERVER_FACING, PUBLIC = "server-facing", "for huggingface.co, on seeded repositories"
CLIENT_ONLY, SKIPPED = "client only: no request sent", "skipped by the suite itself"


@dataclass(frozen=True)
class Outcome:
    """One test's: passed, failed or skipped, how many requests it sent to the hub, and whether it was written for the public Hub."""

    test: str
    outcome: str
    requests: int
    public: bool
    reason: str = ""

    @property
    def kind(self) -> str:
        """The row of the table that it stands in."""
        if self.outcome == "skipped":
            return SKIPPED
        if not self.requests and self.outcome == "passed":  # one that failed may have been kept from asking: its fixture failed
            return CLIENT_ONLY
        return PUBLIC if self.public else SERVER_FACING


@dataclass(frozen=True)
class Group:
    """Tests that come out as they do for one reason; `kind` is failing, elsewhere or empty."""

    kind: str
    reason: str
    tests: tuple[str, ...]

    @property
    def outcome(self) -> str:
        """What each of them must come to."""
        return "passed" if self.kind == "empty" else "failed"


@dataclass
class Verdict:
    """The rows of the table, and everything that makes the run a failure."""

    rows: dict[str, list[Outcome]] = field(default_factory=dict)
    apart: dict[str, list[Outcome]] = field(default_factory=dict)
    unexpected: list[Outcome] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)

    def count(self, row: str) -> int:
        """The tests of a row."""
        return len(self.rows.get(row, []))

    def passed(self, row: str = SERVER_FACING) -> int:
        """Those of them that passed."""
        return sum(outcome.outcome == "passed" for outcome in self.rows.get(row, []))

    @property
    def share(self) -> float:
        """Of the server-facing tests."""
        return self.passed() / max(1, self.count(SERVER_FACING))

    @property
    def good(self) -> bool:
        """Nothing to look at."""
        return self.share >= WANTED_SHARE and not self.unexpected and not self.stale


def told(verdict: Verdict, groups: Iterable[Group]) -> list[str]:
    """What came of all tests that want a server, in sentences that hold by themselves."""
    apart = {name: len(outcomes) for name, outcomes in verdict.apart.items()}
    facing, public = verdict.count(SERVER_FACING), verdict.count(PUBLIC)
    passed = verdict.passed() + verdict.passed(PUBLIC)
    said = [
        f"Of {facing + public + sum(apart.values())} tests that want a server, {passed} pass against the local hub: "
        f"{verdict.passed()} of {facing} server-facing ones ({verdict.share:.1%}), and {verdict.passed(PUBLIC)} of {public} that were "
        "written for huggingface.co and run on repositories seeded under the same names.",
        f"{facing + public - passed} of these fail.",
        *(f"    {len(group.tests)} expected: {group.reason}" for group in groups if group.kind == "failing"),
    ]
    for kind, words in (
        ("elsewhere", "are not about a server like this, and are not counted among those"),
        ("empty", _FOR_NOTHING),
    ):
        reasons = {name.removeprefix(f"{kind}: "): count for name, count in apart.items() if name.startswith(f"{kind}: ")}
        said += [f"{sum(reasons.values())} {words}.", *(f"    {count}: {reason}" for reason, count in reasons.items())]
    return [
        *said,
        f"Besides, {verdict.count(CLIENT_ONLY)} send no request, and {verdict.count(SKIPPED)} are skipped by the suite itself.",
    ]


def read_groups(path: Path) -> list[Group]:
    """The groups of an `expected.toml`."""
    groups: list[dict[str, Any]] = tomllib.loads(path.read_text())["group"]
    return [Group(group["kind"], group["reason"], tuple(group["tests"])) for group in groups]


def judge(outcomes: Iterable[Outcome], groups: Iterable[Group], whole: bool = True) -> Verdict:
    """Compare; `whole` says that every test of the suite was asked for, so that a named test which is not among them is gone."""
    named = {test: group for group in groups for test in group.tests}
    verdict = Verdict()
    seen = set()
    for outcome in outcomes:
        seen.add(outcome.test)
        group = named.get(outcome.test)
        if group is None or group.kind == "failing":
            verdict.rows.setdefault(outcome.kind, []).append(outcome)
        else:
            verdict.apart.setdefault(f"{group.kind}: {group.reason}", []).append(outcome)
        if outcome.outcome == "failed" and (group is None or group.outcome == "passed"):
            verdict.unexpected.append(outcome)
        elif group is not None and outcome.outcome != group.outcome:
            verdict.stale.append(f"{outcome.test} {outcome.outcome}")
    if whole:
        verdict.stale += [f"{test} is not in the suite" for test in named if test not in seen]
    return verdict

"""The verdict on the suite: it must notice what the list of expected failures hides or has outlived."""

import pytest

from tests.conformance.verdict import SERVER_FACING, Group, Outcome, judge, told

pytestmark = pytest.mark.fast


def outcome(test: str, result: str = "passed", requests: int = 1, public: bool = False) -> Outcome:
    return Outcome(test, result, requests, public)


def many(count: int) -> list[Outcome]:
    return [outcome(f"passes-{number}") for number in range(count)]


def test_a_failure_that_is_not_named_makes_the_verdict_bad_however_many_pass() -> None:
    verdict = judge([*many(999), outcome("breaks", "failed")], [])
    assert verdict.share > 0.99
    assert [found.test for found in verdict.unexpected] == ["breaks"]
    assert not verdict.good


def test_a_named_failure_counts_against_the_share() -> None:
    known = Group("failing", "not built", ("breaks",))
    assert judge([*many(19), outcome("breaks", "failed")], [known]).good
    assert not judge([*many(18), outcome("breaks", "failed")], [known]).good


def test_a_test_that_no_hub_can_pass_is_kept_out_of_the_share() -> None:
    verdict = judge([*many(1), outcome("papers", "failed")], [Group("elsewhere", "another service", ("papers",))])
    assert verdict.share == 1.0
    assert verdict.good
    assert [found.test for found in verdict.apart["elsewhere: another service"]] == ["papers"]


@pytest.mark.parametrize("kind", ["failing", "elsewhere"])
@pytest.mark.parametrize("now", ["passed", "skipped"])
def test_a_named_test_that_no_longer_fails_makes_the_list_stale(now: str, kind: str) -> None:
    assert not judge([*many(99), outcome("mended", now)], [Group(kind, "was broken", ("mended",))]).good


def test_a_test_that_passes_for_nothing_counts_for_nothing_and_may_not_fail() -> None:
    group = Group("empty", "lists what is not there", ("vain",))
    verdict = judge([*many(1), outcome("vain")], [group])
    assert verdict.good
    assert verdict.passed() == 1
    assert not judge([*many(99), outcome("vain", "failed")], [group]).good


def test_a_named_test_that_is_gone_makes_the_list_stale_only_when_all_were_run() -> None:
    group = Group("failing", "was broken", ("gone",))
    assert judge(many(9), [group]).stale == ["gone is not in the suite"]
    assert judge(many(9), [group], whole=False).good


def test_only_tests_that_asked_the_hub_and_were_not_written_for_the_public_one_face_the_server() -> None:
    verdict = judge(
        [outcome("asks"), outcome("alone", requests=0), outcome("public", public=True), outcome("left", "skipped")], []
    )
    assert [found.test for found in verdict.rows[SERVER_FACING]] == ["asks"]


def test_a_test_that_failed_before_it_could_ask_counts_against_the_share() -> None:
    known = Group("failing", "its fixture cannot be made", ("breaks",))
    assert not judge([*many(18), outcome("breaks", "failed", requests=0)], [known]).good


def test_what_is_told_accounts_for_every_test_that_wants_a_server() -> None:
    groups = [
        Group("failing", "not built", ("breaks",)),
        Group("elsewhere", "papers", ("a", "b")),
        Group("empty", "no papers", ("c",)),
    ]
    outcomes = [*many(38), outcome("p", public=True), outcome("alone", requests=0), outcome("left", "skipped"), outcome("c")]
    outcomes += [outcome(test, "failed") for test in ("breaks", "a", "b")]
    assert told(judge(outcomes, groups), groups) == [
        "Of 43 tests that want a server, 39 pass against the local hub: 38 of 39 server-facing ones (97.4%), and 1 of 1 that were "
        "written for huggingface.co and run on repositories seeded under the same names.",
        "1 of these fail.",
        "    1 expected: not built",
        "2 are not about a server like this, and are not counted among those.",
        "    2: papers",
        "1 pass, but for nothing, and are not counted either.",
        "    1: no papers",
        "Besides, 1 send no request, and 1 are skipped by the suite itself.",
    ]

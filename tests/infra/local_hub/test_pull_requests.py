"""Pull requests: proposed by anybody who may read, merged by who may write, and only without conflict."""

import pytest
from huggingface_hub.errors import HfHubHTTPError

from tests.builders.hubs import Operation, Workplace, deleted, written

pytestmark = pytest.mark.fast


def _propose(hub: Workplace, repository: str, *changes: Operation, user: str = "bert", revision: str = "main") -> int:
    answer = hub.commit(repository, *changes, user=user, pull=True, revision=revision).raise_for_status()
    return int(answer.json()["pullRequestUrl"].rpartition("/")[2])


def _text(hub: Workplace, repository: str, path: str) -> str | None:
    answer = hub.http().get(f"/{repository}/resolve/main/{path}")
    return answer.text if answer.is_success else None


def test_a_stranger_proposes_and_the_owner_merges(hub: Workplace):
    repository = hub.new()
    num = _propose(hub, repository, written("a.txt", "proposed"))
    assert _text(hub, repository, "a.txt") is None
    assert hub.http().get(f"/{repository}/resolve/refs%2Fpr%2F{num}/a.txt").text == "proposed"
    hub.commit(repository, written("b.txt", "more"), user="bert", revision=f"refs%2Fpr%2F{num}").raise_for_status()
    with pytest.raises(HfHubHTTPError, match="403"):
        hub.api("bert").merge_pull_request(repository, num)
    hub.api().merge_pull_request(repository, num, comment="thank you")
    assert (_text(hub, repository, "a.txt"), _text(hub, repository, "b.txt")) == ("proposed", "more")
    details = hub.api().get_discussion_details(repository, num)
    assert details.status == "merged"
    assert details.merge_commit_oid == hub.api().repo_info(repository).sha  # type: ignore[attr-defined]
    with pytest.raises(HfHubHTTPError, match="Only an open pull request"):
        hub.api().merge_pull_request(repository, num)


def test_only_its_author_and_writers_commit_to_a_pull_request(hub: Workplace):
    repository = hub.new()
    num = _propose(hub, repository, written("a.txt"), user="anna")
    assert hub.commit(repository, written("a.txt", "other"), user="bert", revision=f"refs%2Fpr%2F{num}").status_code == 403
    assert hub.commit(repository, written("a.txt", "other"), user="bert-read", pull=True).status_code == 403
    theirs = _propose(hub, repository, written("b.txt"))
    hub.commit(repository, written("b.txt", "by the owner"), revision=f"refs%2Fpr%2F{theirs}").raise_for_status()


def test_changes_to_different_files_come_together(hub: Workplace):
    repository = hub.new()
    hub.commit(repository, written("a.txt", "1"), written("b.txt", "1"), written("gone.txt")).raise_for_status()
    num = _propose(hub, repository, written("a.txt", "2"), deleted("gone.txt"))
    hub.commit(repository, written("b.txt", "2"), written("c.txt", "new")).raise_for_status()
    hub.api().merge_pull_request(repository, num)
    assert {path: _text(hub, repository, path) for path in ("a.txt", "b.txt", "c.txt", "gone.txt")} == {
        "a.txt": "2", "b.txt": "2", "c.txt": "new", "gone.txt": None,
    }  # fmt: skip


_CONFLICTS: dict[str, tuple[list[Operation], list[Operation]]] = {
    "both wrote": ([written("a.txt", "theirs")], [written("a.txt", "ours")]),
    "one deleted": ([written("a.txt", "theirs")], [deleted("a.txt")]),
    "other deleted": ([deleted("a.txt")], [written("a.txt", "ours")]),
    "both made": ([written("new.txt", "theirs")], [written("new.txt", "ours")]),
    "file and folder": ([written("new", "theirs")], [written("new/inner", "ours")]),
    "folder and file": ([written("new/inner", "theirs")], [written("new", "ours")]),
    "differ in case": ([written("New.txt", "theirs")], [written("new.txt", "ours")]),
}


@pytest.mark.parametrize(("theirs", "ours"), _CONFLICTS.values(), ids=_CONFLICTS.keys())
def test_a_conflict_is_told_and_changes_nothing(hub: Workplace, theirs: list[Operation], ours: list[Operation]):
    repository = hub.new()
    hub.commit(repository, written("a.txt", "before")).raise_for_status()
    num = _propose(hub, repository, *theirs)
    head = hub.commit(repository, *ours).raise_for_status().json()["commitOid"]
    answer = hub.http().post(f"/api/models/{repository}/discussions/{num}/merge", json={})
    assert answer.status_code in (409, 422), answer.text
    assert hub.api().repo_info(repository).sha == head
    assert hub.api().get_discussion_details(repository, num).status in ("draft", "open")


def test_the_same_change_on_both_sides_is_no_conflict(hub: Workplace):
    repository = hub.new()
    num = _propose(hub, repository, written("a.txt", "same"))
    head = hub.commit(repository, written("a.txt", "same")).raise_for_status().json()["commitOid"]
    hub.api().merge_pull_request(repository, num)
    assert hub.api().repo_info(repository).sha == head


def test_conflicts_and_changes_are_shown_before_anybody_merges(hub: Workplace):
    repository = hub.new()
    hub.commit(repository, written("a.txt", "before\n")).raise_for_status()
    num = _propose(hub, repository, written("a.txt", "theirs\n"))
    hub.commit(repository, written("a.txt", "ours\n")).raise_for_status()
    details = hub.api().get_discussion_details(repository, num)
    assert details.conflicting_files == ["a.txt"]
    assert details.diff is not None
    assert "-before" in details.diff
    assert "+theirs" in details.diff


def test_a_pull_request_to_a_branch_is_merged_into_that_branch(hub: Workplace):
    repository = hub.new()
    hub.api().create_branch(repository, branch="dev")
    num = _propose(hub, repository, written("a.txt", "for dev"), revision="dev")
    hub.api().merge_pull_request(repository, num)
    assert hub.http().get(f"/{repository}/resolve/dev/a.txt").text == "for dev"
    assert _text(hub, repository, "a.txt") is None


def test_a_pull_request_outlives_the_branch_it_was_for(hub: Workplace):
    repository = hub.new()
    hub.api().create_branch(repository, branch="dev")
    num = _propose(hub, repository, written("a.txt", "orphan"), revision="dev")
    hub.api().delete_branch(repository, branch="dev")
    assert hub.api().get_discussion_details(repository, num).title == "a commit"
    assert hub.http().get(f"/{repository}/discussions/{num}").status_code == 200
    with pytest.raises(HfHubHTTPError, match="Client error '4"):
        hub.api().merge_pull_request(repository, num)
    hub.api().change_discussion_status(repository, num, new_status="closed")
    assert hub.api().get_discussion_details(repository, num).status == "closed"


def test_a_squashed_base_loses_nothing_to_an_older_pull_request(hub: Workplace):
    repository = hub.new()
    hub.commit(repository, written("a.txt", "1"), written("b.txt", "1")).raise_for_status()
    num = _propose(hub, repository, written("new.txt", "theirs"))
    hub.commit(repository, written("b.txt", "2")).raise_for_status()
    hub.api().super_squash_history(repository)
    hub.http().post(f"/api/models/{repository}/discussions/{num}/merge", json={})
    assert (_text(hub, repository, "a.txt"), _text(hub, repository, "b.txt")) == ("1", "2")


def test_a_discussion_is_changed_by_those_whose_it_is(hub: Workplace):
    api, repository = hub.api(), hub.new()
    num = hub.api("bert").create_discussion(repository, title="a question", description="why?").num
    answer = api.comment_discussion(repository, num, comment="because")
    hub.api("bert").rename_discussion(repository, num, new_title="two questions")
    with pytest.raises(HfHubHTTPError, match="403"):
        hub.api("bert").edit_discussion_comment(repository, num, answer.id, new_content="I said so")
    api.edit_discussion_comment(repository, num, answer.id, new_content="because of that")
    hub.api("bert").change_discussion_status(repository, num, new_status="closed")
    details = api.get_discussion_details(repository, num)
    assert (details.title, details.status) == ("two questions", "closed")
    assert [event.content for event in details.events if event.type == "comment"] == ["why?", "because of that"]
    assert [discussion.num for discussion in api.get_repo_discussions(repository)] == [num]

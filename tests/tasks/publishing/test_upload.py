"""Publishing to a Hub: all at once, under a tag, and nobody else's things are touched."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from huggingface_hub.errors import RepositoryNotFoundError
from pydantic import SecretStr

from infra.errors import HubError, HubUnreachable, PublishingError
from infra.hub import HubConnection
from tasks.contracts import RepositoryKind, Upload
from tasks.publishing.upload import is_published, promote, upload, withdraw
from tests.builders.faulty_door import Fault, faulty_door
from tests.builders.hubs import Workplace, written
from tests.builders.publications import LARGE_BYTES, Made, connected, held, make_folder, publish_folder, titles

pytestmark = pytest.mark.fast
MODEL = RepositoryKind.MODEL


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make_folder(tmp_path / "first", 1)


@pytest.fixture
def other(tmp_path: Path) -> Made:
    """Another content, without one of the large files."""
    return make_folder(tmp_path / "other", 2, large=1)


def send(hub: HubConnection, made: Made, name: str, public: bool = False) -> Upload:
    return upload(hub, made.folder, name, MODEL, public, made.content)


def references(workplace: Workplace, name: str) -> tuple[dict[str, str], dict[str, str]]:
    """Branches and tags."""
    found = workplace.api().list_repo_refs(name)
    return {branch.name: branch.target_commit for branch in found.branches}, {tag.name: tag.target_commit for tag in found.tags}


def test_a_publication_is_one_commit_on_main_under_a_tag_and_leaves_nothing_else(hub: Workplace, made: Made):
    place = publish_folder(connected(hub), made, "anna/one", "The first")
    assert held(hub.api(), "anna/one") == made.files()
    assert titles(hub.api(), "anna/one") == ["The first"]
    tag = f"v{datetime.now(UTC):%Y-%m-%d}-{made.fingerprint}"
    assert references(hub, "anna/one") == ({"main": place.revision}, {tag: place.revision})
    assert (place.tag, place.new, place.repository) == (tag, True, "anna/one")


def test_nothing_is_on_main_before_it_is_promoted(hub: Workplace, made: Made, other: Made):
    connection = connected(hub)
    first = send(connection, made, "anna/staged")
    assert held(hub.api(), "anna/staged") == {}
    assert held(hub.api(), "anna/staged", first.revision) == made.files()
    promote(connection, first, made.folder, "The first")
    second = send(connection, other, "anna/staged")
    assert held(hub.api(), "anna/staged") == made.files()
    assert held(hub.api(), "anna/staged", second.revision) == other.files(), "what is verified is what main will hold"
    promote(connection, second, other.folder, "The second")
    assert held(hub.api(), "anna/staged") == other.files()


def test_it_is_private_unless_told_otherwise(hub: Workplace, made: Made):
    publish_folder(connected(hub), made, "anna/private")
    with pytest.raises(RepositoryNotFoundError):
        hub.api("bert").model_info("anna/private")
    send(connected(hub), made, "anna/public", public=True)
    assert not hub.api("bert").model_info("anna/public").private


@pytest.mark.parametrize(("is_public", "wanted"), [(True, "private"), (False, "public")])
def test_a_repository_that_is_not_as_private_as_asked_is_refused(hub: Workplace, made: Made, is_public: bool, wanted: str):
    name = hub.new(private=not is_public)
    with pytest.raises(HubError, match=f"it was to be {wanted}. Change that in its settings"):
        send(connected(hub), made, name, public=not is_public)
    assert held(hub.api(), name) == {}
    assert list(references(hub, name)[0]) == ["main"]


def test_what_is_no_secret_may_be_public_already_but_not_the_other_way_round(hub: Workplace, made: Made):
    name = hub.new(private=False)
    assert upload(connected(hub), made.folder, name, MODEL, False, made.content, no_secret=True).public
    name = hub.new(private=True)
    with pytest.raises(HubError, match="is private, it was to be public"):
        upload(connected(hub), made.folder, name, MODEL, True, made.content, no_secret=True)


def test_a_name_under_which_somebody_keeps_other_files_is_taken(hub: Workplace, made: Made):
    name = hub.new(private=True)
    hub.commit(name, written("notes.txt"), written("thesis.pdf")).raise_for_status()
    with pytest.raises(HubError, match=r"not published from here \(notes.txt, thesis.pdf\). Choose another name"):
        send(connected(hub), made, name)
    assert sorted(held(hub.api(), name)) == ["notes.txt", "thesis.pdf"]


def test_equal_content_makes_no_commit_and_sends_nothing(hub: Workplace, made: Made):
    first = publish_folder(connected(hub), made, "anna/again")
    with faulty_door(hub.url, seed=0, share=0.0) as door:
        again = publish_folder(connected(hub, url=door.url), made, "anna/again")
        assert again == first.model_copy(update={"new": False})
        assert not [passage for passage in door.passages if passage.method == "PUT" or "/commit/" in passage.path]
    assert len(titles(hub.api(), "anna/again")) == 1
    assert is_published(connected(hub), first, made.folder)


def test_what_was_published_before_is_replaced_and_a_strangers_file_stays(hub: Workplace, made: Made, other: Made):
    publish_folder(connected(hub), made, "anna/changed")
    hub.commit("anna/changed", written("notes/mine.txt", "by hand")).raise_for_status()
    publish_folder(connected(hub), other, "anna/changed", "The second")
    assert held(hub.api(), "anna/changed") == other.files() | {"notes/mine.txt": b"by hand"}
    assert titles(hub.api(), "anna/changed") == ["The second", "a commit", "A publication"]
    assert len(references(hub, "anna/changed")[1]) == 2


def test_a_content_that_comes_back_keeps_its_first_tag(hub: Workplace, made: Made, other: Made):
    first = publish_folder(connected(hub), made, "anna/back")
    publish_folder(connected(hub), other, "anna/back")
    assert not is_published(connected(hub), first, made.folder)
    back = publish_folder(connected(hub), made, "anna/back")
    assert held(hub.api(), "anna/back") == made.files()
    assert (back.tag, back.revision, back.new) == (first.tag, first.revision, True)
    assert len(references(hub, "anna/back")[1]) == 2
    assert is_published(connected(hub), back, made.folder)


def test_an_unfinished_attempt_leaves_nothing_in_the_next_ones_content(hub: Workplace, made: Made, other: Made, tmp_path: Path):
    send(connected(hub), other, "anna/attempts")  # its process is killed
    publish_folder(connected(hub), made, "anna/attempts")
    hub.api().create_branch("anna/attempts", branch=f"publication-{other.fingerprint}", exist_ok=True)
    staged = send(connected(hub), other, "anna/attempts")
    assert held(hub.api(), "anna/attempts", staged.revision) == other.files()


@pytest.mark.parametrize("attempt", range(4))
def test_the_same_content_by_several_people_at_once_is_one_publication(hub: Workplace, made: Made, attempt: int):
    name = hub.new(private=True)
    with ThreadPoolExecutor(4) as people:
        places = list(people.map(lambda _: publish_folder(connected(hub), made, name, "The same"), range(4)))
    assert len({place.revision for place in places}) == 1
    assert titles(hub.api(), name) == ["The same"]
    assert references(hub, name) == ({"main": places[0].revision}, {places[0].tag: places[0].revision})


def test_two_people_who_publish_at_once_both_keep_their_data(hub: Workplace, tmp_path: Path):
    folders = [make_folder(tmp_path / str(number), number, large=number, large_bytes=20_000) for number in range(6)]
    hub.hub.accounts.create("crowd", kind="org")
    for user in ("anna", "bert"):
        hub.hub.accounts.join("crowd", user, role="write")
    connections = [connected(hub, user) for user in ("anna", "bert")] * 3
    connections[0].api().create_repo("crowd/radio", private=True)
    with ThreadPoolExecutor(len(folders)) as people:
        places = list(
            people.map(lambda by, made: publish_folder(by, made, "crowd/radio", made.fingerprint), connections, folders)
        )
    for made, place in zip(folders, places, strict=True):
        assert held(hub.api(), "crowd/radio", place.tag) == made.files()
        assert place.tag.endswith(made.fingerprint)
    assert held(hub.api(), "crowd/radio") in [made.files() for made in folders]
    assert sorted(titles(hub.api(), "crowd/radio")) == sorted(made.fingerprint for made in folders)


def test_what_somebody_commits_meanwhile_stays(hub: Workplace, made: Made):
    connection = connected(hub)
    sent = send(connection, made, "anna/meanwhile")
    hub.commit("anna/meanwhile", written("README.md", "by hand"), written("mine.txt", "mine")).raise_for_status()
    with pytest.raises(HubError, match=r"not published from here \(mine.txt\)"):
        promote(connection, sent, made.folder, "Too late")
    withdraw(connection, sent)
    assert held(hub.api(), "anna/meanwhile") == {"README.md": b"by hand", "mine.txt": b"mine"}


def test_a_publication_whose_answer_was_lost_is_found_again_below_that_of_somebody_else(
    hub: Workplace, made: Made, other: Made, monkeypatch: pytest.MonkeyPatch
):
    name = hub.new(private=True)
    with faulty_door(hub.url, seed=0, share=1.0, faults=[Fault.DROPPED_ANSWER], only="POST .*/commit/main") as door:

        def while_we_wait(_: float) -> None:
            if door.share:
                door.share = 0.0
                publish_folder(connected(hub), other, name, "Theirs")

        monkeypatch.setattr(time, "sleep", while_we_wait)
        place = publish_folder(connected(hub, url=door.url), made, name, "Ours")
    assert titles(hub.api(), name) == ["Theirs", "Ours"]
    assert held(hub.api(), name) == other.files()
    assert held(hub.api(), name, place.tag) == made.files()


def test_an_interrupted_upload_sends_no_large_file_again(hub: Workplace, tmp_path: Path, hurried: None):
    made = make_folder(tmp_path / "large", 3, large=4)
    with faulty_door(hub.url, seed=0, share=1.0, faults=[Fault.RESET_REQUEST], only="POST .*/commit/") as door:
        connection = connected(hub, url=door.url)
        with pytest.raises(HubUnreachable):
            send(connection, made, "anna/interrupted")
        assert door.passed_bytes("PUT ") > 4 * LARGE_BYTES
        door.share = 0.0
        door.body_bytes.clear()
        publish_folder(connection, made, "anna/interrupted")
        assert door.passed_bytes("PUT ") == 0
        assert door.passed_bytes("") < LARGE_BYTES, "all requests together"
    assert held(hub.api(), "anna/interrupted") == made.files()


def test_a_first_publication_that_is_taken_back_leaves_an_empty_repository(hub: Workplace, made: Made):
    connection = connected(hub)
    sent = send(connection, made, "anna/taken-back")
    promote(connection, sent, made.folder, "Wrong")
    withdraw(connection, sent)
    withdraw(connection, sent)
    assert held(hub.api(), "anna/taken-back") == {}
    branches, tags = references(hub, "anna/taken-back")
    assert (list(branches), tags) == (["main"], {})
    assert len(titles(hub.api(), "anna/taken-back")) == 2
    publish_folder(connection, made, "anna/taken-back")
    assert held(hub.api(), "anna/taken-back") == made.files()


def test_a_later_publication_that_is_taken_back_restores_small_and_large_files(hub: Workplace, made: Made, other: Made):
    connection = connected(hub)
    first = publish_folder(connection, made, "anna/restored")
    hub.commit("anna/restored", written("mine.txt", "mine")).raise_for_status()
    sent = send(connection, other, "anna/restored")
    promote(connection, sent, other.folder, "Wrong")
    hub.commit("anna/restored", written("later.txt", "later"), written("config.json", "by hand")).raise_for_status()
    by_others = {"mine.txt": b"mine", "later.txt": b"later", "config.json": b"by hand"}
    for _ in range(2):
        withdraw(connection, sent)
        assert held(hub.api(), "anna/restored") == made.files() | by_others
    assert references(hub, "anna/restored")[1] == {first.tag: first.revision}


def test_what_was_never_promoted_is_taken_back_without_a_trace_on_main(hub: Workplace, made: Made, other: Made):
    connection = connected(hub)
    publish_folder(connection, made, "anna/untouched")
    withdraw(connection, send(connection, other, "anna/untouched"))
    assert titles(hub.api(), "anna/untouched") == ["A publication"]
    assert list(references(hub, "anna/untouched")[0]) == ["main"]


@pytest.mark.parametrize("ours_was_first", [False, True])
def test_taking_back_leaves_the_publication_of_somebody_else_alone(hub: Workplace, made: Made, other: Made, ours_was_first: bool):
    name, connection = hub.new(private=True), connected(hub)
    ours, theirs = send(connection, made, name), send(connection, other, name)
    if ours_was_first:
        promote(connection, ours, made.folder, "Ours")
    place = promote(connection, theirs, other.folder, "Theirs")
    withdraw(connection, ours)
    assert held(hub.api(), name) == other.files()
    assert references(hub, name) == ({"main": place.revision}, {place.tag: place.revision})


def test_a_tag_that_stands_for_something_else_is_told_before_anything_is_on_main(hub: Workplace, made: Made):
    name = hub.new(private=True)
    hub.api().create_tag(name, tag=f"v{datetime.now(UTC):%Y-%m-%d}-{made.fingerprint}")
    with pytest.raises(HubError, match=r"has a tag v.* already, of something else. Delete that tag"):
        publish_folder(connected(hub), made, name)
    assert held(hub.api(), name) == {}


def test_a_spent_quota_is_told_in_the_hubs_words(hub: Workplace, made: Made):
    hub.hub.accounts.create("poor", quota_bytes=LARGE_BYTES)
    token = SecretStr(hub.hub.accounts.add_token("poor"))
    with pytest.raises(HubError, match=r"refuses \(sending files to poor/x\) with 403: Storage quota exceeded.*free storage"):
        send(HubConnection(hub.url, token, token, local=True), made, "poor/x")


def test_a_wrong_token_and_one_that_only_reads_are_told_apart(hub: Workplace, made: Made):
    nobody = HubConnection(hub.url, SecretStr("hf_" + "x" * 30), SecretStr("x"), local=False)
    with pytest.raises(HubError, match=rf"{hub.url} refuses \(making anna/x\) with 401: .*VOXFACTORY_HUB_TOKEN"):
        send(nobody, made, "anna/x")
    with pytest.raises(HubError, match=r"with 403: .*Use a token with the right to write"):
        send(connected(hub, "anna-read"), made, "anna/x")
    with pytest.raises(HubError, match=r"with 403: "):
        send(connected(hub, "bert"), made, "anna/x")


@pytest.mark.parametrize("name", ["anna/a--b", "anna/x.git", "anna/" + "x" * 120])
def test_a_name_that_no_hub_takes_is_told(hub: Workplace, made: Made, name: str):
    with pytest.raises(HubError, match=r"takes no such name .*Choose another name"):
        send(connected(hub), made, name)


@pytest.mark.parametrize("url", ["not-an-address", "http://[::1", "ftp://hub"])
def test_an_address_that_is_none_is_told_at_once(hub: Workplace, made: Made, url: str):
    with pytest.raises(HubError, match=re.escape(f"{url} is no address of a Hub")):
        send(HubConnection(url, SecretStr("x"), SecretStr("x"), local=False), made, "anna/x")


def test_a_repository_that_ignores_some_of_the_files_is_told(hub: Workplace, made: Made, other: Made):
    publish_folder(connected(hub), made, "anna/ignoring")
    hub.commit("anna/ignoring", written(".gitignore", "config.json\n")).raise_for_status()
    with pytest.raises(PublishingError, match=r"did not take every file. Look for a .gitignore"):
        send(connected(hub), other, "anna/ignoring")
    assert held(hub.api(), "anna/ignoring") == made.files() | {".gitignore": b"config.json\n"}


def test_a_dataset_is_published_as_one(hub: Workplace, made: Made):
    place = publish_folder(connected(hub), made, "anna/data", kind=RepositoryKind.DATASET)
    assert hub.api().dataset_info("anna/data").sha == place.revision
    with pytest.raises(RepositoryNotFoundError):
        hub.api().model_info("anna/data")

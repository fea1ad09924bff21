"""Who may do what: organisations and their roles, gated repositories, names after a move."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from huggingface_hub import CommitOperationAdd

from tests.builders.hubs import Workplace, written

pytestmark = pytest.mark.fast


@pytest.fixture(scope="module")
def lab(hub: Workplace) -> str:
    """An organisation: anna is its admin, bert has no part in it."""
    hub.hub.accounts.create("lab", kind="org")
    hub.hub.accounts.join("lab", "anna")
    return "lab"


def _member(hub: Workplace, org: str, role: str) -> httpx.Client:
    """A new member of an organisation with that role."""
    user = f"{org}-{role}"
    hub.hub.accounts.create(user)
    hub.hub.accounts.join(org, user, role)
    return hub.with_token(hub.hub.accounts.add_token(user))


@pytest.mark.parametrize(("role", "created"), [("admin", 200), ("write", 200), ("contributor", 200), ("read", 403)])
def test_members_write_as_their_role_says_and_all_of_them_read(hub: Workplace, lab: str, role: str, created: int):
    private = hub.create(f"inner-{role}", organization=lab, private=True)
    member = _member(hub, lab, role)
    assert member.get(f"/{private}/resolve/main/.gitattributes").status_code == 200
    assert member.post("/api/repos/create", json={"name": f"by-{role}", "organization": lab}).status_code == created
    described = member.get("/api/whoami-v2").json()["orgs"]
    assert [(org["name"], org["roleInOrg"]) for org in described] == [(lab, role)]


def test_two_members_publish_to_one_repository_at_once_and_both_keep_their_data(hub: Workplace):
    hub.hub.accounts.create("radio", kind="org")
    for member in ("anna", "bert"):
        hub.hub.accounts.join("radio", member, role="write")
        assert "radio" in [org["name"] for org in hub.api(member).whoami()["orgs"]]
    hub.api("anna").create_repo("radio/voices", repo_type="dataset", private=True)

    def publish(turn: int) -> None:
        member = ("anna", "bert")[turn % 2]
        files = {f"{member}/{turn}.txt": b"text", f"{member}/{turn}.bin": bytes([turn]) * 1000}
        operations = [CommitOperationAdd(path, content) for path, content in files.items()]
        hub.api(member).create_commit("radio/voices", operations, commit_message=f"{member} {turn}", repo_type="dataset")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(publish, range(16)))
    api = hub.api("bert")
    expected = [f"{('anna', 'bert')[turn % 2]}/{turn}.{ending}" for turn in range(16) for ending in ("bin", "txt")]
    assert sorted(api.list_repo_files("radio/voices", repo_type="dataset")) == sorted([".gitattributes", *expected])
    authors = [commit.authors for commit in api.list_repo_commits("radio/voices", repo_type="dataset")[:-1]]
    assert sorted(author for (author,) in authors) == ["anna"] * 8 + ["bert"] * 8
    assert hub.http(None).get("/api/datasets/radio/voices").status_code == 401


def test_who_has_no_part_in_an_organisation_makes_nothing_there(hub: Workplace, lab: str):
    answer = hub.http("bert").post("/api/repos/create", json={"name": "intruder", "organization": lab})
    assert answer.status_code == 403
    assert "intruder" not in hub.http("anna").get("/api/models").text


def test_a_repository_cannot_be_moved_to_where_the_mover_may_not_write(hub: Workplace, lab: str):
    path = hub.create("gift", user="bert")
    move = {"fromRepo": path, "toRepo": f"{lab}/gift", "type": "model"}
    assert hub.http("bert").post("/api/repos/move", json=move).status_code == 403
    assert hub.http("anna").post("/api/repos/move", json=move).status_code == 403
    assert hub.http(None).get(f"/api/models/{path}").status_code == 200


def test_a_moved_repository_answers_to_its_old_name(hub: Workplace):
    api, path = hub.api(), hub.create("first-name")
    hub.commit(path, written("a.txt", "kept")).raise_for_status()
    api.move_repo(path, "anna/second-name")
    assert hub.http("bert").get(f"/{path}/resolve/main/a.txt").text == "kept"
    assert api.model_info(path).id == "anna/second-name"
    hub.commit(path, written("b.txt", "by the old name")).raise_for_status()
    assert "b.txt" in api.list_repo_files("anna/second-name")
    api.move_repo("anna/second-name", path)
    assert api.model_info("anna/second-name").id == path


def test_the_old_name_of_a_moved_repository_can_be_given_to_another(hub: Workplace):
    api, path = hub.api(), hub.create("reused")
    api.move_repo(path, "anna/went-away")
    api.create_repo(path)
    hub.commit(path, written("new.txt")).raise_for_status()
    assert "new.txt" in api.list_repo_files(path)
    assert "new.txt" not in api.list_repo_files("anna/went-away")


def test_the_old_name_does_not_tell_where_a_repository_went(hub: Workplace, lab: str):
    path = hub.create("taken-along", organization=lab)
    hub.api().move_repo(path, "anna/taken-secretly")
    hub.api().update_repo_settings("anna/taken-secretly", private=True)
    colleague = _member(hub, lab, "write")
    answer = colleague.post("/api/repos/create", json={"name": "taken-along", "organization": lab})
    assert "secretly" not in answer.text
    assert answer.status_code == 200


def test_a_repository_that_exists_is_named_in_the_refusal_to_make_it_again(hub: Workplace):
    path = hub.create("Twice")
    answer = hub.http().post("/api/repos/create", json={"name": "twice"})
    assert (answer.status_code, answer.json()["url"]) == (409, f"{hub.url}/{path}")
    assert hub.api().create_repo("anna/twice", exist_ok=True).repo_id == path


def test_files_of_a_gated_repository_are_for_whom_it_was_granted(hub: Workplace):
    path = hub.create("gated")
    hub.commit(path, written("words.txt", "guarded")).raise_for_status()
    hub.api().update_repo_settings(path, gated="manual")
    stranger, address = hub.http("bert"), f"/{path}/resolve/main/words.txt"
    refused = stranger.get(address)
    assert (refused.status_code, refused.headers["x-error-code"]) == (403, "GatedRepo")
    nobody = hub.http(None).get(address)
    assert (nobody.status_code, nobody.headers["x-error-code"]) == (401, "GatedRepo")
    stranger.post(f"/{path}/ask-access").raise_for_status()
    assert stranger.get(address).status_code == 403, "asking is not yet getting"
    assert [request.username for request in hub.api().list_pending_access_requests(path)] == ["bert"]
    hub.api().accept_access_request(path, "bert")
    assert stranger.get(address).text == "guarded"
    hub.api().reject_access_request(path, "bert", rejection_reason=None)
    assert stranger.get(address).status_code == 403


def test_words_of_a_gated_repository_are_on_no_other_page(hub: Workplace):
    path = hub.create("gated-everywhere")
    hub.commit(path, written("words.txt", "guarded words"), written("README.md", "guarded card")).raise_for_status()
    hub.commit(path, written("more.txt", "guarded words, too"), pull=True).raise_for_status()
    hub.api().update_repo_settings(path, gated="auto")
    api, pages = f"/api/models/{path}", f"/{path}"
    asked = [
        f"{api}/discussions/1",
        f"{pages}/discussions/1",
        pages,
        f"{pages}/blob/main/words.txt",
        f"{api}?blobs=true",
        f"{api}/tree/main",
    ]
    for client in (hub.http(None), hub.http("bert")):
        for address in asked:
            assert "guarded" not in client.get(address).text, address
    assert "guarded words, too" in hub.http("anna").get(asked[0]).text


def test_spaces_have_every_route_that_other_repositories_have(hub: Workplace):
    path, visitor = hub.create("demo", "space"), hub.http("bert")
    api = f"/api/spaces/{path}"
    assert hub.http("anna").get(f"{api}/auth-check").status_code == 200
    assert visitor.get(f"{api}/auth-check/write").status_code == 403
    assert visitor.post(f"{api}/like").status_code == 200
    assert [liker["user"] for liker in visitor.get(f"{api}/likers").json()] == ["bert"]
    assert visitor.delete(f"{api}/like").status_code == 200
    assert visitor.get(f"{api}/likers").json() == []


def test_secrets_of_a_space_are_shown_to_nobody(hub: Workplace):
    path = hub.create("with-secret", "space")
    hub.api().add_space_secret(path, key="KEY", value="s3cr3t-value", description="of the door")
    hub.api().add_space_variable(path, key="NAME", value="visible")
    for viewer in ("anna", "anna-read", "bert", None):
        for place in ("secrets", "variables", "runtime", "logs/run"):
            assert "s3cr3t" not in hub.http(viewer).get(f"/api/spaces/{path}/{place}").text
    assert hub.http("bert").get(f"/api/spaces/{path}/secrets").status_code == 403
    assert hub.api().get_space_variables(path)["NAME"].value == "visible"

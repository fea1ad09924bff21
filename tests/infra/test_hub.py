"""Which Hub the factory connects to, and whether it may write there."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from pydantic import SecretStr

from infra.errors import HubError, HubUnreachable, SettingsError
from infra.hub import check_right_to_write, connection, open_local_hub, source_of
from infra.redaction import redacted
from infra.settings import Settings
from tests.builders.hubs import Workplace, served_hub

pytestmark = pytest.mark.fast


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    with served_hub(tmp_path_factory.mktemp("elsewhere") / "hub") as served:
        served.hub.accounts.create("lab", kind="org")
        served.hub.accounts.join("lab", "anna", "write")
        served.hub.accounts.create("readers", kind="org")
        served.hub.accounts.join("readers", "anna", "read")
        yield served


@pytest.fixture(autouse=True)
def nobody_is_logged_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    for name in ("HF_TOKEN", "HF_ENDPOINT", "VOXFACTORY_HUB_TOKEN", "VOXFACTORY_HUB_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


def settings_for(hub: Workplace, home: Path, token: str | None) -> Settings:
    return Settings(home=home, hub_endpoint=hub.url, hub_token=SecretStr(token) if token else None)


def test_without_endpoint_and_token_it_is_the_hub_of_the_home(home: Path):
    with connection(Settings(home=home)) as hub:
        assert hub.local
        assert check_right_to_write(hub, "radio") == "local/radio"
        hub.api().create_repo("local/radio", private=True)
    with connection(Settings(home=home)) as again:
        assert again.api().repo_exists("local/radio")


def test_a_token_of_the_local_hub_is_good_for_as_long_as_the_connection(home: Path):
    with connection(Settings(home=home)) as hub:
        token = hub.token.get_secret_value()
        assert token not in repr(hub)
    with pytest.raises(Exception, match="Invalid credentials"):
        open_local_hub(Settings(home=home)).accounts.viewer(token)


def test_local_is_meant_whoever_is_logged_in(home: Path, elsewhere: Workplace):
    with connection(Settings(home=home, hub_endpoint="local", hub_token=SecretStr(elsewhere.tokens["anna"]))) as hub:
        assert hub.local


def test_what_the_factory_connects_to_is_where_it_downloads_from(home: Path, tmp_path: Path):
    with connection(Settings(home=home)) as hub:
        hub.api().create_repo("local/radio")
        hub.api().upload_file(path_or_fileobj=b"tree fower fife", path_in_repo="a.txt", repo_id="local/radio")
        fetched = hub.api().hf_hub_download("local/radio", "a.txt", local_dir=tmp_path / "down")
    assert Path(fetched).read_text() == "tree fower fife"


def test_an_endpoint_without_a_token_is_refused(home: Path, elsewhere: Workplace):
    with pytest.raises(SettingsError, match="no token"), connection(settings_for(elsewhere, home, None)):
        pass


def test_a_name_without_owner_becomes_ours_and_an_organisation_we_write_for_is_ours(home: Path, elsewhere: Workplace):
    with connection(settings_for(elsewhere, home, elsewhere.tokens["anna"])) as hub:
        assert check_right_to_write(hub, "radio") == "anna/radio"
        assert check_right_to_write(hub, "lab/radio") == "lab/radio"


@pytest.mark.parametrize(
    ("token", "repository", "message"),
    [
        ("anna-read", "radio", "may only read"),
        ("anna", "bert/radio", "anna may not write to bert"),
        ("anna", "readers/radio", "anna may not write to readers"),
    ],
)
def test_a_right_that_is_missing_is_told_before_any_work(
    home: Path, elsewhere: Workplace, token: str, repository: str, message: str
):
    with connection(settings_for(elsewhere, home, elsewhere.tokens[token])) as hub, pytest.raises(HubError, match=message):
        check_right_to_write(hub, repository)


def test_a_wrong_token_is_told_and_not_shown(home: Path, elsewhere: Workplace):
    wrong = "hf_" + "z9" * 18
    with connection(settings_for(elsewhere, home, wrong)) as hub, pytest.raises(HubError, match="401") as told:
        check_right_to_write(hub, "radio")
    assert wrong not in str(told.value)


def test_a_hub_that_does_not_answer_may_answer_later(home: Path):
    settings = Settings(home=home, hub_endpoint="http://127.0.0.1:9", hub_token=SecretStr("hf_x"))
    with connection(settings) as hub, pytest.raises(HubUnreachable, match="did not answer"):
        check_right_to_write(hub, "radio")


def test_a_hub_that_is_silent_is_not_waited_for_without_end(home: Path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = Settings(
            home=home, hub_endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}", hub_token=SecretStr("hf_x"), hub_timeout_s=0.2
        )
        with connection(settings) as hub, pytest.raises(HubUnreachable, match=r"did not answer .*ReadTimeout"):
            check_right_to_write(hub, "radio")


@pytest.mark.parametrize(("endpoint", "has_xet"), [("https://huggingface.co", True), ("http://192.0.2.1:4280", False)])
def test_a_hub_on_plain_http_has_no_xet(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str, has_xet: bool
):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    with connection(Settings(home=home, hub_endpoint=endpoint, hub_token=SecretStr("hf_x"))) as hub:
        assert constants.HF_HUB_DISABLE_XET is not has_xet
        assert ("HF_HUB_DISABLE_XET" in hub.reading_environment(tmp_path)) is not has_xet


def test_a_process_that_asks_nobody_gets_no_token(home: Path, tmp_path: Path):
    with connection(Settings(home=home)) as hub:
        given = "".join(hub.offline_environment(tmp_path).values())
        assert hub.token.get_secret_value() not in given
        assert hub.read_token.get_secret_value() not in given


@contextmanager
def hub_that_says(who: dict[str, Any], wrong: str = "") -> Iterator[str]:
    """A Hub that knows who asks, whatever the token unless it is the wrong one, and nothing else."""

    class Says(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.headers["Authorization"] != f"Bearer {wrong}"
            body = json.dumps(who if known else {"error": "Invalid credentials"}).encode()
            self.send_response(200 if known else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Says) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def fine_grained(*scopes: tuple[str, str]) -> dict[str, Any]:
    """What huggingface.co says of a fine-grained token that may do this at these places."""
    scoped = [{"entity": {"type": "x", "name": name}, "permissions": [right]} for name, right in scopes]
    token = {"displayName": "least", "role": "fineGrained", "fineGrained": {"global": [], "scoped": scoped}}
    return {"name": "anna", "orgs": [], "auth": {"accessToken": token}}


@pytest.mark.parametrize(
    ("scopes", "may"),
    [
        ([("anna/radio", "repo.write")], True),
        ([("anna", "repo.write")], True),
        ([("anna/radio", "repo.content.read")], False),
        ([("anna/other", "repo.write"), ("bert", "repo.write")], False),
    ],
)
def test_a_token_for_one_repository_is_enough_for_that_one(home: Path, scopes: list[tuple[str, str]], may: bool):
    with hub_that_says(fine_grained(*scopes)) as url:
        settings = Settings(home=home, hub_endpoint=url, hub_token=SecretStr("hf_x"))
        with connection(settings) as hub:
            if may:
                assert check_right_to_write(hub, "radio") == "anna/radio"
            else:
                with pytest.raises(HubError, match=r"does not grant repo.write for anna/radio"):
                    check_right_to_write(hub, "radio")


def test_a_token_that_reads_and_is_not_good_is_told_before_any_work(home: Path):
    with hub_that_says(fine_grained(("anna", "repo.write")), wrong="hf_old") as url:
        settings = Settings(home=home, hub_endpoint=url, hub_token=SecretStr("hf_x"), hub_read_token=SecretStr("hf_old"))
        with connection(settings) as hub, pytest.raises(HubError, match=r"the token that only reads.*401"):
            check_right_to_write(hub, "radio")


def test_every_token_that_is_used_is_kept_out_of_texts(home: Path, elsewhere: Workplace):
    for number, opened in enumerate((connection, lambda settings: source_of(settings, "model", "a/b"))):
        token = f"hf_of_settings_{number}"
        with opened(settings_for(elsewhere, home, token)):  # type: ignore[operator]
            assert token not in redacted(f"with {token}")


def test_an_error_that_leaves_a_connection_says_no_token(home: Path):
    tokens = []

    def fail() -> None:
        with connection(Settings(home=home)) as hub:
            tokens.append(hub.token.get_secret_value())
            raise KeyError(f"Bearer {tokens[0]}")

    with pytest.raises(KeyError) as told:
        fail()
    assert tokens[0] not in str(told.value)

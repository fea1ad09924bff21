"""The pages: they answer, show what the viewer may see, run nothing of what people wrote, and change nothing."""

import re
import time
from html.parser import HTMLParser
from types import SimpleNamespace
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import pytest

from infra.local_hub.web import sessions
from tests.builders.hubs import Workplace, named, written

pytestmark = pytest.mark.fast

_CARD = """---
license: mit
---
# Words <script>alert(1)</script>

<img src=x onerror=alert(2)> <iframe src="//evil.example"></iframe>

[a](javascript:alert(3)) [b](JaVaScRiPt:alert(4)) [c](data:text/html,<script>alert(5)</script>) [d](vbscript:x)
[e](<javascript&colon;alert(6)>) ![f](javascript:alert(7)) [g](  javascript:alert(8)) <javascript:alert(9)>
[h](http://[) [i](//[)

| set | error |
|---|---|
| german | 12 % |

![curve](<Über sicht.png>) ![chart](figures/chart.png) [data](data/table.csv#L5) [part](#words) [out](https://example.org/a?b=c#d)
"""


class _Page(HTMLParser):
    """Every element and attribute of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def values(self, name: str) -> list[str]:
        return [value for other, value in self.attributes if other == name]


@pytest.fixture
def browser(hub: Workplace) -> httpx.Client:
    """A browser that nobody is signed in to."""
    return httpx.Client(base_url=hub.url, headers={"Accept": "text/html,*/*"}, trust_env=False, follow_redirects=True)


def _sign_in(hub: Workplace, browser: httpx.Client, account: str = "anna") -> None:
    browser.get(sessions.sign_in_path(hub.hub, account)).raise_for_status()


@pytest.fixture(scope="module")
def shown(hub: Workplace) -> str:
    """A public repository with a card, files of all sorts, a tag and a pull request."""
    path = hub.create("shown")
    files = {
        "README.md": _CARD,
        "Über sicht.png": "png",
        "figures/chart.png": "png",
        "data/table.csv": "a,b\n",
        "talk.wav": "RIFF",
    }
    files |= {"odd/<b>&\"'.txt": "<script>alert(10)</script>", "binary.dat": "\x00\x01", "big.txt": "x" * 300_000}
    large = named("w.bin", hub.put_large(path, b"large"))
    hub.commit(path, *(written(name, text) for name, text in files.items()), large, summary="<b>bold</b>").raise_for_status()
    hub.api().create_tag(path, tag="v<1>")
    hub.commit(path, written("a.txt", "<i>new</i>"), pull=True, summary="<script>11</script>", description="<script>12</script>")
    return path


def _links(browser: httpx.Client, start: str, inside: str) -> dict[str, int]:
    """The status of every page of a repository that links lead to."""
    statuses: dict[str, int] = {}
    waiting = [start]
    while waiting:
        address = waiting.pop()
        if address in statuses or not urlsplit(address).path.startswith(inside):
            continue
        answer = browser.get(address)
        statuses[address] = answer.status_code
        if answer.headers["content-type"].startswith("text/html") and "/resolve/" not in address:
            page = _Page(answer.text)
            found = [urljoin(address, link) for link in page.values("href") + page.values("src")]
            waiting += [link.partition("#")[0] for link in found if link.startswith("/")]
    return statuses


def test_every_link_of_a_repositorys_pages_leads_somewhere(browser: httpx.Client, shown: str):
    statuses = _links(browser, f"/{shown}", f"/{shown}")
    assert {address: status for address, status in statuses.items() if status != 200} == {}
    parts = {address.removeprefix(f"/{shown}").split("/")[1] for address in statuses if address != f"/{shown}"}
    assert parts == {"tree", "blob", "resolve", "commits", "commit", "discussions"}


def test_what_people_wrote_runs_nothing(browser: httpx.Client, shown: str):
    seen = 0
    for address in _links(browser, f"/{shown}", f"/{shown}"):
        answer = browser.get(address)
        assert "default-src 'none'" in answer.headers["content-security-policy"], address
        assert "script-src" not in answer.headers["content-security-policy"]
        if "/resolve/" in address:
            assert "sandbox" in answer.headers["content-security-policy"]
            assert answer.headers["x-content-type-options"] == "nosniff"
            continue
        page = _Page(answer.text)
        assert not page.tags & {"script", "iframe", "object", "embed", "base", "i"}, address
        assert not [name for name, _ in page.attributes if name.startswith("on")], address
        links = [link.strip().lower() for name in ("href", "src", "action", "formaction") for link in page.values(name)]
        assert not [link for link in links if re.match(r"[a-z]*script:|data:", link)], address
        seen += 1
    assert seen > 10


def test_a_card_shows_its_tables_pictures_and_links(browser: httpx.Client, shown: str):
    text = browser.get(f"/{shown}").text
    page = _Page(text[text.index("<article") :])
    assert "<td>german</td>" in text
    assert page.values("src") == [f"/{shown}/resolve/main/%C3%9Cber%20sicht.png", f"/{shown}/resolve/main/figures/chart.png"]
    assert f"/{shown}/blob/main/data/table.csv#L5" in page.values("href")
    assert {"#words", "https://example.org/a?b=c#d"} <= set(page.values("href"))


def test_what_is_private_is_shown_after_signing_in_and_only_to_its_owner(hub: Workplace, browser: httpx.Client):
    path = hub.create("own", private=True)
    hub.commit(path, written("README.md", "# my words")).raise_for_status()
    addresses = (
        f"/{path}",
        f"/{path}/tree/main/",
        f"/{path}/blob/main/README.md",
        f"/{path}/commits/main",
        f"/{path}/resolve/main/README.md",
    )
    for address in addresses:
        hidden, never = browser.get(address), browser.get(address.replace("own", "nil"))
        assert (hidden.status_code, hidden.text) == (never.status_code, never.text)
        assert hidden.status_code == 404
    assert path not in browser.get("/").text
    _sign_in(hub, browser)
    for address in addresses:
        assert browser.get(address).status_code == 200, address
    assert path in browser.get("/").text
    _sign_in(hub, browser, "bert")
    assert browser.get(f"/{path}").status_code == 404


def test_a_token_signs_in_and_a_wrong_one_does_not(hub: Workplace, browser: httpx.Client):
    assert "anna" not in browser.post("/sign-in", data={"token": "hf_wrong"}).text
    assert "anna" in browser.post("/sign-in", data={"token": f" {hub.tokens['anna']}\n"}).text
    cookie = next(iter(browser.cookies.jar))
    assert hub.tokens["anna"] != cookie.value
    assert "httponly" in {name.lower() for name in cookie._rest}  # type: ignore[attr-defined]


def test_a_browser_that_is_signed_in_changes_nothing(hub: Workplace, browser: httpx.Client, shown: str):
    browser.post("/sign-in", data={"token": hub.tokens["anna"]})
    before = hub.api().repo_info(shown).sha
    api = f"/api/models/{shown}"
    commit = '{"key":"header","value":{"summary":"x"}}\n{"key":"deletedFile","value":{"path":"README.md"}}'
    assert browser.post(f"{api}/commit/main", content=commit).status_code == 403
    for method, address, body in (
        ("DELETE", "/api/repos/delete", {"name": "shown"}),
        ("POST", "/api/repos/create", {"name": "by-cookie"}),
        ("PUT", f"{api}/settings", {"private": True}),
        ("POST", f"{api}/branch/b", {}),
        ("POST", f"{api}/like", {}),
        ("POST", f"{api}/discussions", {"title": "t"}),
        ("POST", f"{api}/discussions/1/merge", {}),
        ("POST", f"/{shown}.git/info/lfs/objects/batch", {"operation": "upload", "objects": []}),
        ("POST", "/api/settings/webhooks", {"url": "http://127.0.0.1/", "watched": [{"type": "user", "name": "anna"}]}),
    ):
        assert browser.request(method, address, json=body).status_code == 403, address
    assert hub.api().repo_info(shown).sha == before


def test_a_sign_in_link_is_good_as_it_is_and_for_its_time(hub: Workplace, browser: httpx.Client, monkeypatch: pytest.MonkeyPatch):
    link = sessions.sign_in_path(hub.hub, "anna")
    values = {name: value[0] for name, value in parse_qs(urlsplit(link).query).items()}
    later = str(int(values["expires"]) + 60)
    for changed in (
        {"account": "bert"},
        {"expires": later},
        {"signature": "0" * 64},
        {"signature": "é"},
        {"expires": "x"},
        {"signature": ""},
    ):
        answer = browser.get("/sign-in", params=values | changed)
        assert (answer.status_code, dict(browser.cookies)) == (403, {}), changed
    six_minutes_later = time.time() + 360
    monkeypatch.setattr(sessions, "time", SimpleNamespace(time=lambda: six_minutes_later))
    assert browser.get(link).status_code == 403
    monkeypatch.undo()
    assert "anna" in browser.get(link).text


def test_a_session_is_for_browsers_alone(hub: Workplace, browser: httpx.Client):
    """Cookies know no ports: whatever else is served on this machine is sent the session, too."""
    _sign_in(hub, browser)
    session = next(iter(browser.cookies.values()))
    assert hub.with_token(session).get("/api/whoami-v2").status_code == 401


def test_a_session_ends(hub: Workplace, browser: httpx.Client):
    _sign_in(hub, browser)
    with hub.hub.store.transaction() as database:
        database.execute("UPDATE tokens SET expires = '2020-01-01T00:00:00+00:00' WHERE label = 'browser'")
    assert "anna</span>" not in browser.get("/").text.replace("\n", "")
    assert browser.get("/api/whoami-v2").status_code == 401


def test_an_error_is_a_page_to_a_person_and_json_to_a_program(hub: Workplace, browser: httpx.Client):
    assert "<h1>404</h1>" in browser.get("/anna/absent").text
    assert hub.http(None).get("/anna/absent").json() == {"error": "Repository not found"}
    assert browser.get("/%3Cscript%3Ealert(1)%3C%2Fscript%3E/a/b/c/d/e/f").text.count("<script>") == 0

import io
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from infra import redaction
from infra.errors import HubError
from infra.processes import start
from infra.redaction import redacted, remember

pytestmark = pytest.mark.fast
TOKEN = "hf_" + "a1" * 18


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The token is known to this process while a test runs."""
    before = logging.getLogRecordFactory()
    monkeypatch.setattr(redaction, "_known", set())
    remember(SecretStr(TOKEN), None)
    yield
    logging.setLogRecordFactory(before)


def logged(write: "object") -> str:
    """What a logger's handler writes."""
    written = io.StringIO()
    log = logging.getLogger("redaction-test")
    handler = logging.StreamHandler(written)
    log.addHandler(handler)
    try:
        write(log)
    finally:
        log.removeHandler(handler)
    return written.getvalue()


def test_a_token_in_a_message_or_its_arguments_is_hidden():
    assert TOKEN not in logged(lambda log: log.warning("with %s and %d", f"Bearer {TOKEN}", 3))
    assert TOKEN not in logged(lambda log: log.warning(f"with {TOKEN}"))


def test_a_token_in_a_traceback_is_hidden():
    def write(log: logging.Logger) -> None:
        try:
            raise ValueError(f"refused {TOKEN}")
        except ValueError:
            log.exception("it failed")

    written = logged(write)
    assert "ValueError: refused ****" in written
    assert TOKEN not in written


def test_other_text_stays_as_it_is():
    assert logged(lambda log: log.warning("%s of %s", 1, 2)) == "1 of 2\n"
    assert redacted("hf_" + "b2" * 18) == "hf_" + "b2" * 18


def test_a_message_whose_arguments_do_not_fit_is_written_without_the_token():
    written = logged(lambda log: log.warning("%d of %s", TOKEN))
    assert "%d of %s" in written
    assert TOKEN not in written


def test_our_errors_never_hold_a_token():
    error = HubError(f"refused {TOKEN}", f"Replace {TOKEN}")
    assert TOKEN not in repr(error) + str(error) + error.problem


@pytest.mark.parametrize("where", ["fail()", "import threading; t = threading.Thread(target=fail); t.start(); t.join()"])
def test_an_error_that_nobody_catches_is_printed_without_the_token(where: str):
    lines = [
        "from pydantic import SecretStr",
        "from infra.redaction import remember",
        f"remember(SecretStr({TOKEN!r}))",
        f"def fail(): raise ValueError('refused ' + {TOKEN!r})",
        where,
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert "ValueError: refused ****" in done.stderr
    assert TOKEN not in done.stderr


def test_a_child_gets_no_secret_of_ours_but_what_it_is_given(monkeypatch: pytest.MonkeyPatch):
    for name in ("HF_TOKEN", "VOXFACTORY_HUB_TOKEN", "PREFECT_API_AUTH_STRING", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, TOKEN)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    child = start(["env"], {"OTHER_TOKEN": "given"}, subprocess.PIPE)
    seen = child.communicate()[0].decode()
    assert TOKEN not in seen
    assert "OTHER_TOKEN=given" in seen
    assert "TOKENIZERS_PARALLELISM=false" in seen

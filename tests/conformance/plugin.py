"""In the process of the tests: leads every request to the local hub, and writes down what came of each test.

Which tests face the server is measured, not declared: those that sent it a request while they were set up or ran. Requests to
huggingface.co go to the local hub, requests to any other host than loopback are refused.
"""

import json
import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import httpx2
import pytest

_PUBLIC = "huggingface.co"
_NOT_COUNTED = "/api/agent-harnesses"  # the client asks once a day, whatever is being tested
_SUITE_MARKERS = ("transfer", "xet", "production", "vcr", "git_lfs")

Answer = Callable[[httpx2.HTTPTransport, httpx2.Request], httpx2.Response]


class HostRefused(Exception):
    """A test asked a service that is no part of a Hub."""


class Recorder:
    """Requests of the running test, and the outcome of each test as one line of JSON."""

    def __init__(self, hub: str, record: Path) -> None:
        self._hub = httpx2.URL(hub)
        self._record = record
        self._requests: list[list[str]] = []  # method and path, status
        self._listening = False
        self._worst: dict[str, Any] = {}

    def lead(self, answer: Answer) -> Answer:
        """`HTTPTransport.handle_request`, led to the local hub."""

        def handle(transport: httpx2.HTTPTransport, request: httpx2.Request) -> httpx2.Response:
            led = self._led(request)
            asked = [f"{request.method} {request.url.raw_path.decode()}", "no answer"]
            if self._listening and request.url.path != _NOT_COUNTED:
                self._requests.append(asked)
            response = answer(transport, led)
            asked[1] = str(response.status_code)
            return response

        return handle

    def _led(self, request: httpx2.Request) -> httpx2.Request:
        if request.url.host == self._hub.host:
            return request
        if request.url.host != _PUBLIC:
            raise HostRefused(f"asked {request.url.host}")
        url = request.url.copy_with(scheme=self._hub.scheme, host=self._hub.host, port=self._hub.port)
        headers = [(name, value) for name, value in request.headers.multi_items() if name.lower() != "host"]
        headers.append(("host", url.netloc.decode()))
        return httpx2.Request(request.method, url, headers=headers, stream=request.stream, extensions=request.extensions)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self._requests, self._listening = [], True
        self._worst = {"outcome": "passed", "reason": "", "text": ""}
        result = yield
        line = {
            "test": item.nodeid.split("/", 1)[-1],
            **self._worst,
            "requests": len(self._requests),
            "public": item.get_closest_marker("production") is not None,
            "asked": [" -> ".join(asked) for asked in self._requests if self._worst["outcome"] == "failed"],
        }
        with self._record.open("a") as record:
            record.write(json.dumps(line) + "\n")
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        self._listening = call.when == "setup"  # the call comes next; what a test clears up afterwards is not counted
        if not report.passed and self._worst["outcome"] == "passed":
            self._worst = {"outcome": report.outcome, "reason": _reason(report), "text": report.longreprtext}
        return report


def _reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])
    crash = getattr(report.longrepr, "reprcrash", None)
    message = crash.message if crash else report.longreprtext
    return f"{'' if report.when == 'call' else f'{report.when}: '}{' '.join(message.split())}"


def pytest_configure(config: pytest.Config) -> None:
    for marker in _SUITE_MARKERS:
        config.addinivalue_line("markers", f"{marker}: of the suite")
    recorder = Recorder(os.environ["HF_ENDPOINT"], Path(os.environ["CONFORMANCE_RECORD"]))
    httpx2.HTTPTransport.handle_request = recorder.lead(httpx2.HTTPTransport.handle_request)
    config.pluginmanager.register(recorder)

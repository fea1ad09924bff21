"""What the suite's tests find beside them as `conftest.py`: the staging Hub of their constants is the local one.

A test marked `production` talks to huggingface.co; the plugin leads that to the local hub, too.
"""

import os
from collections.abc import Iterator
from typing import Any, Protocol

import pytest
from huggingface_hub import HfApi, RepoUrl, constants

from . import testing_constants

testing_constants.ENDPOINT_STAGING = os.environ["HF_ENDPOINT"]

from .testing_utils import repo_name  # noqa: E402 - it, too, must see the local hub


class RepoFactory(Protocol):
    """Makes a repository that is deleted after the test."""

    def __call__(
        self, repo_type: str = "model", *, repo_id: str | None = None, token: str | None = None, **settings: Any
    ) -> RepoUrl: ...


@pytest.fixture(scope="session")
def api() -> HfApi:
    """The suite's user on the local hub."""
    return HfApi(endpoint=testing_constants.ENDPOINT_STAGING, token=testing_constants.TOKEN)


@pytest.fixture(scope="session")
def api_prod() -> HfApi:
    """Nobody, on the public Hub."""
    return HfApi(endpoint=testing_constants.ENDPOINT_PRODUCTION)


@pytest.fixture
def repo_factory() -> Iterator[RepoFactory]:
    """Repositories for one test."""
    made: list[tuple[HfApi, RepoUrl]] = []

    def make(repo_type: str = "model", *, repo_id: str | None = None, token: str | None = None, **settings: Any) -> RepoUrl:
        owner = HfApi(endpoint=testing_constants.ENDPOINT_STAGING, token=token or testing_constants.TOKEN)
        url = owner.create_repo(repo_id or repo_name(), repo_type=repo_type, **settings)
        made.append((owner, url))
        return url

    yield make
    for owner, url in made:
        owner.delete_repo(url.repo_id, repo_type=url.repo_type, missing_ok=True)


@pytest.fixture
def new_repo_id(api: HfApi) -> Iterator[str]:
    """The id of a model that is not there yet, deleted after the test."""
    repo_id = f"{testing_constants.USER}/{repo_name()}"
    yield repo_id
    api.delete_repo(repo_id, missing_ok=True)


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        constants, "HF_HUB_CACHE", str(tmp_path_factory.mktemp("cache"))
    )  # what one test fetched, another must ask for


@pytest.fixture(autouse=True)
def _public_endpoint(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("production"):
        monkeypatch.setattr(constants, "ENDPOINT", testing_constants.ENDPOINT_PRODUCTION)
        template = testing_constants.ENDPOINT_PRODUCTION_URL_SCHEME
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)

from pathlib import Path

import pytest

from infra.errors import HomeError, SettingsError
from infra.settings import settings

pytestmark = pytest.mark.fast


def test_a_wrong_value_names_its_variable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VOXFACTORY_PROCESSES", "many")
    settings.cache_clear()
    with pytest.raises(SettingsError, match="VOXFACTORY_PROCESSES='many'"):
        settings()


def test_a_home_that_cannot_be_made_says_which_variable_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VOXFACTORY_HOME", str(tmp_path / "file" / "home"))
    settings.cache_clear()
    with pytest.raises(HomeError, match="Set VOXFACTORY_HOME"):
        settings().folder("datasets")


@pytest.mark.parametrize("endpoint", ["local", "https://hub.example"])
def test_figures_are_not_sent_to_the_public_hub_where_another_is_configured(endpoint: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VOXFACTORY_HUB_ENDPOINT", endpoint)
    monkeypatch.setenv("VOXFACTORY_TRACKIO_SPACE", "me/figures")
    settings.cache_clear()
    with pytest.raises(SettingsError, match=f"VOXFACTORY_TRACKIO_SPACE='me/figures'.*is {endpoint}"):
        settings()

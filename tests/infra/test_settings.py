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

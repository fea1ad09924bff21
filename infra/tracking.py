"""Trackio's surroundings: it reads its variables when it is imported, and asks the Hub who we are even where it only writes files."""

import os

from infra.settings import PUBLIC_HUB, Settings

_ADDRESSES = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "TRACKIO_WEBHOOK_URL")  # the settings alone say where figures go


def confine_trackio(settings: Settings) -> None:
    """For a process that is about to import it: its data lies in the home, and nothing leaves the machine but to the Space, if one is set.

    Raises:
        HomeError: the home cannot be written.

    """
    for name in _ADDRESSES:
        os.environ.pop(name, None)
    os.environ |= {
        "TRACKIO_DIR": str(settings.folder("trackio")),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    if settings.trackio_space is None:
        os.environ["HF_HUB_OFFLINE"] = "1"
    elif settings.hub_token:
        os.environ["HF_TOKEN"] = settings.hub_token.get_secret_value()


def space_token(settings: Settings) -> dict[str, str]:
    """The variable that a child process needs to send figures to the Space; none where there is no Space."""
    if settings.tracking and settings.trackio_space and settings.hub_token:
        return {"VOXFACTORY_HUB_TOKEN": settings.hub_token.get_secret_value()}
    return {}


def has_dashboard(settings: Settings) -> bool:
    """Whether the figures lie in this home."""
    return settings.tracking and settings.trackio_space is None


def address_of_figures(settings: Settings) -> str:
    """Where people see them."""
    if settings.trackio_space:
        return f"{PUBLIC_HUB}/spaces/{settings.trackio_space}"
    return f"http://127.0.0.1:{settings.trackio_port}"

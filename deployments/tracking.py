"""`python -m deployments.tracking`: Trackio's dashboard of this home's trainings, on loopback; a part of `voxfactory up`.

Whoever can reach the port may look. Deleting and renaming takes the write token that it prints when it starts.
"""

import sys

from infra.errors import ServerError, VoxFactoryError
from infra.settings import Settings, settings
from infra.tracking import confine_trackio


def serve_dashboard(settings: Settings) -> None:
    """Serve it until this process is ended.

    Raises:
        ServerError: the port is taken.
        HomeError: the home cannot be written.

    """
    confine_trackio(settings)
    import trackio

    try:
        trackio.show(
            host="127.0.0.1",
            server_port=settings.trackio_port,
            share=False,
            open_browser=False,
            mcp_server=False,
            block_thread=True,
        )
    except OSError as error:
        raise ServerError(f"Trackio's dashboard does not start: {error}", "Set VOXFACTORY_TRACKIO_PORT to a free port") from error


if __name__ == "__main__":
    try:
        serve_dashboard(settings())
    except VoxFactoryError as error:
        sys.exit(str(error))

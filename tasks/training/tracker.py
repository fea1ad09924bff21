"""The tracker's process: `python -m tasks.training.tracker SPEC.json`, fed with one JSON line for each step: [step, {figure: value}].

A process of its own, since Trackio takes a second to import, prints, waits for networks, and may end up anywhere: training loses it, and
nothing else. The run goes on where an earlier attempt left it; a figure that is there for a step is not written again, since a resumed
training makes the same steps once more. It ends with an error if Trackio complained of anything, which by itself it only warns of.
"""

import json
import signal
import sys
import warnings
from collections.abc import Iterable
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.errors import SettingsError, VoxFactoryError
from infra.settings import Settings, settings
from infra.tracking import confine_trackio
from tasks.training.process import TrainingSpec

if TYPE_CHECKING:
    from trackio.run import Run


def main(spec_path: Path) -> str | None:
    """Pass everything on; returns what went wrong."""
    # It comes when training is killed: we end with our input, after what is still in it.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    spec = TrainingSpec.model_validate_json(spec_path.read_text())
    known = settings()
    confine_trackio(known)
    if known.trackio_space and not known.trackio_public:
        refuse_public(known.trackio_space)
    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        lines, sys.stdin = sys.stdin, StringIO()  # where the Hub refuses a token, Trackio asks for another one
        _record(spec, known, lines)
    return " ".join(str(complaints[0].message).split()) if complaints else None


def refuse_public(space: str) -> None:
    """Trackio makes a Space as private as it is told, but takes one that is there as it is.

    Raises:
        SettingsError: it is there, and public.

    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        found = HfApi().space_info(space)
    except RepositoryNotFoundError:
        return
    if not found.private:
        raise SettingsError(f"The Space {space} is public", "Make it private, or set VOXFACTORY_TRACKIO_PUBLIC=true")


def _record(spec: TrainingSpec, known: Settings, lines: Iterable[str]) -> None:
    import trackio

    run = trackio.init(
        project=spec.dataset.name,
        name=spec.folder.name,
        space_id=known.trackio_space,
        private=not known.trackio_public,
        config=_configuration(spec),
        resume="allow",
        embed=False,
        auto_log_gpu=False,
        auto_log_cpu=False,
    )
    try:
        there = {(row["step"], name) for row in _rows(run, known.trackio_space) for name in row}
        for line in lines:
            step, figures = json.loads(line)
            new = {name: value for name, value in figures.items() if (step, name) not in there}
            if new:
                run.log(new, step=step)
    finally:
        trackio.finish()


def _configuration(spec: TrainingSpec) -> dict[str, Any]:
    return {
        "base_model": spec.base.label,
        "base_revision": spec.base.revision,
        "dataset_fingerprint": spec.dataset.fingerprint,
        **spec.options.model_dump(mode="json"),
    }


def _rows(run: "Run", space: str | None) -> list[dict[str, Any]]:
    """What Trackio holds of the run."""
    asked = {"project": run.project, "run": run.name, "run_id": run.id}
    if space is None:
        from trackio.sqlite_storage import SQLiteStorage

        return SQLiteStorage.get_logs(**asked)
    from huggingface_hub import get_token
    from trackio.remote_client import RemoteClient

    try:
        return RemoteClient(space, hf_token=get_token()).predict(api_name="/get_logs", **asked)
    except ConnectionError:  # it is still being built, or asleep: Trackio keeps figures until it answers
        return []


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1])))
    except VoxFactoryError as error:
        sys.exit(str(error))

"""What Prefect costs and how soon it acts: `python -m tests.benchmarks.orchestration`, six minutes. The last line is one JSON object.

The same speech goes through the same functions twice, each time in a new home: called one after the other in a process that knows
nothing of Prefect, and as the deployment `factory` of a `voxfactory up`, from the moment its worker takes it. `prefect_share` is what
the second takes longer, as a share of itself. Then the deployment runs again, from the cache, and a commit is made to a watched dataset:
`event_to_run_s` is from there until its retraining runs. Ends with 1 if a limit is broken.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from infra.processes import free_port
from tests.benchmarks.start import seconds
from tests.builders.speech import radio_corpus

_AT_MOST = {"event_to_run_s": 10.0, "prefect_share": 0.10, "cached_rerun_s": 30.0}
_OPTIONS = {"method": "full", "epochs": 10, "batch_size": 8, "learning_rate": 7e-4}
_NAME = "voxtral-radio"
_CLIPS = 400  # with the epochs, half of what the demo trains


def plain(source: Path) -> None:
    """The whole factory as a script would do it."""
    from infra.hub import connection
    from infra.settings import settings
    from tasks.contracts import Form, RepositoryKind
    from tasks.dataset.ingest import IngestOptions, ingest
    from tasks.evaluation.compare import HeardSet, compare
    from tasks.evaluation.transcribe import transcribe_dataset
    from tasks.publishing.stage import Publication, stage
    from tasks.publishing.upload import promote, upload
    from tasks.publishing.verify import verify
    from tasks.space.local import running_space
    from tasks.space.prove import prove
    from tasks.space.render import render
    from tasks.training.launch import train
    from tasks.training.options import TrainingOptions
    from tasks.training.process import TrainingSpec
    from tasks.voxtral.checkpoint import find_checkpoint

    folder, base = settings().folder("plain"), find_checkpoint("voxfactory-tiny")
    dataset = ingest(source, "radio", IngestOptions(language="en"), folder / "dataset", settings().processes)
    options = TrainingOptions.model_validate(_OPTIONS)
    model = train(TrainingSpec(folder=folder / "run", base=base, dataset=dataset, options=options))
    heard = [
        transcribe_dataset(checkpoint, dataset, folder / label, 32, label)
        for checkpoint, label in ((base, "before"), (model.checkpoint, "fine-tuned"))
    ]
    (folder / "evaluation").mkdir()
    report = compare(model, HeardSet(dataset, *heard), [], folder / "evaluation", seed=0)
    with connection(settings()) as hub:
        staged = stage(report, Publication(name=f"local/{_NAME}"), Form.FULL, folder / "published", None)
        uploaded = upload(hub, staged.folder, staged.name, RepositoryKind.MODEL, staged.public, staged.content_hash)
        verify(hub, uploaded, staged)
        promote(hub, uploaded, staged.folder, "Fine-tuned on radio")
    demo = render(staged, folder / "demo")
    with running_space(demo, staged, settings().space_timeout_s) as (url, _):
        prove(url, report.known_clips(3))


def plain_s(source: Path, home: Path) -> float:
    """Wall-clock seconds of that, in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.orchestration", str(source)]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=sys.stderr, env=os.environ | {"VOXFACTORY_HOME": str(home)})
    return time.perf_counter() - started


def orchestrated(source: Path, home: Path) -> dict[str, float]:
    """The factory through a worker, again from the cache, and a commit that becomes a run."""
    from prefect.deployments import run_deployment

    from tests.builders.factories import Factory, running_factory, until

    def ran_s(factory: Factory, taken: bool) -> float:
        run = run_deployment(
            "factory/factory",
            parameters={
                "source": {"path": str(source), "name": "radio", "options": {"language": "en"}},
                "training": {"options": _OPTIONS},
                "publication": {"name": _NAME},
            },
            timeout=900,
            poll_interval=1,
        )
        if not run.state.is_completed():
            raise SystemExit(run.state.message)
        states = factory.prefect.read_flow_run_states(run.id)
        begun = next(state.timestamp for state in states if state.is_pending()) if taken else run.created
        return float((run.end_time - begun).total_seconds())

    with running_factory({"VOXFACTORY_PROCESSES": str(os.cpu_count())}, home, f"http://127.0.0.1:{free_port()}/api") as factory:
        first_s, again_s = ran_s(factory, taken=True), ran_s(factory, taken=False)
        factory.commit(source)
        committed = datetime.now().astimezone()
        (run,) = until(lambda: [run for run in factory.runs("retrain") if run.start_time])
        event_s = (run.start_time - committed).total_seconds()
        factory.ended("retrain")
    return {"factory_s": first_s, "cached_rerun_s": again_s, "event_to_run_s": event_s}


def measure() -> dict[str, float]:
    """Everything, on the same speech."""
    import_s = seconds([sys.executable, "-c", "import flows.factory"])
    with tempfile.TemporaryDirectory() as folder:
        source = radio_corpus(Path(folder) / "source", clips=_CLIPS)
        by_hand_s = plain_s(source, Path(folder) / "plain-home")
        measured = orchestrated(source, Path(folder) / "home")
    return {
        "event_to_run_s": round(measured["event_to_run_s"], 1),
        "prefect_share": round(1 - by_hand_s / measured["factory_s"], 3),
        "cached_rerun_s": round(measured["cached_rerun_s"], 1),
        "import_factory_s": round(import_s, 2),
        "plain_s": round(by_hand_s, 1),
        "factory_s": round(measured["factory_s"], 1),
    }


def main() -> int:
    """Measure and print; 1 if a limit is broken."""
    measured = measure()
    failures = [f"{name} is {measured[name]}, more than {most}\n" for name, most in _AT_MOST.items() if measured[name] > most]
    sys.stdout.write("".join(failures) + json.dumps(measured) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    if len(sys.argv) > 1:
        plain(Path(sys.argv[1]))
    else:
        sys.exit(main())

"""What Trackio holds, read as its own files say it."""

import json
import sqlite3
from collections import defaultdict
from contextlib import closing
from pathlib import Path

from tasks.training.process import TrainingSpec


def figures(home: Path, spec: TrainingSpec) -> dict[str, list[tuple[int, float]]]:
    """The steps and values of each figure of a run, in the order of the steps; there is one such run."""
    with closing(sqlite3.connect(home / "trackio" / f"{spec.dataset.name}.db")) as database:
        asked = "SELECT run_id, step, metrics FROM metrics WHERE run_name = ? ORDER BY step"
        rows = database.execute(asked, [spec.folder.name]).fetchall()
    assert len({run for run, _, _ in rows}) == 1
    told = defaultdict(list)
    for _, step, values in rows:
        for name, value in json.loads(values).items():
            told[name].append((step, value))
    return dict(told)

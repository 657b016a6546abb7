"""The models file is read strictly, and says what to change."""

import importlib.util
from decimal import Decimal
from pathlib import Path

import pytest

from services.common.errors import ConfigError
from services.common.requests.model_catalogue import ENGINE_CAPABILITIES, load_models
from services.inference.engines import create_engine

MODELS = Path(__file__).parents[4] / "infra" / "models"


def models_file(folder: Path, text: str) -> Path:
    """Writes a models file."""
    path = folder / "models.yaml"
    path.write_text(text)
    return path


def test_load_models_default_file_offers_smollm2_only() -> None:
    """What a fresh installation serves, with four slots; nothing scripted."""
    (model,) = load_models(MODELS / "models.yaml")
    assert (model.name, model.engine, model.slots) == ("smollm2-135m", "llamacpp", 4)
    assert "tools" in model.capabilities
    assert model.price.output_per_million_usd > model.price.input_per_million_usd > Decimal(0)


def test_load_models_scripted_file_offers_an_exact_continuation() -> None:
    """Tests and benchmarks rely on it."""
    (model,) = load_models(MODELS / "scripted.yaml")
    assert model.continuation == "exact"
    assert model.capabilities == ENGINE_CAPABILITIES["scripted"]
    assert create_engine(model).slots == model.slots


def test_load_models_price_that_is_left_out_is_unknown_and_zero_is_free(tmp_path: Path) -> None:
    """Part by part; cached tokens cost as much as others where nothing else is said."""
    text = (
        "models: [{name: a, engine: scripted, context_length: 8},"
        "{name: b, engine: scripted, context_length: 8, price: {input_per_million_usd: '0.15'}},"
        "{name: c, engine: scripted, context_length: 8,"
        " price: {input_per_million_usd: 2, cached_input_per_million_usd: 0, output_per_million_usd: 0}}]"
    )
    prices = [model.price for model in load_models(models_file(tmp_path, text))]
    parts = [(one.input_per_million_usd, one.cached_rate, one.output_per_million_usd) for one in prices]
    assert parts == [(None, None, None), (Decimal("0.15"), Decimal("0.15"), None), (2, 0, 0)]
    assert [one.per_request_usd for one in prices] == [0, 0, 0]


def test_load_models_declared_capabilities_narrow_the_engines(tmp_path: Path) -> None:
    """A model may honour less than its engine."""
    (model,) = load_models(
        models_file(
            tmp_path, "models: [{name: a, engine: scripted, context_length: 8, capabilities: [chat]}]"
        )
    )
    assert model.capabilities == {"chat"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("models: []", "at least 1 item"),
        ("models: [{name: a, engine: magic, context_length: 8}]", r"model 'a'.*magic"),
        ("models: [{name: a b, engine: scripted, context_length: 8}]", "name .*'a b'"),
        ("models: [{name: a, engine: scripted, context_length: 8, slot: 2}]", r"models\.0\.slot "),
        ("models: [{name: a, engine: scripted, context_length: 8, capabilities: [zork]}]", "zork.*remove"),
        ("models: [{name: a, engine: scripted, context_length: 8, price: {per_request_usd: -1}}]", "price"),
        (
            "models: [{name: a, engine: scripted, context_length: 8, price: {input_per_million_usd: 10001}}]",
            "price",
        ),
        (
            "models: [{name: a, engine: scripted, context_length: 8, price: {per_request_usd: .0000001}}]",
            "price",
        ),
        ("models: [{name: a, engine: scripted, context_length: 8, price: {input: 1}}]", "price"),
        (
            "models: [{name: a, engine: scripted, context_length: 8, replicas: {min: 3, max: 2}}]",
            "raise max or lower min",
        ),
        (
            (
                "models: [{name: a, engine: scripted, context_length: 8}, {name: b, aliases: [a], engine: "
                "scripted, context_length: 8}]"
            ),
            "answer to 'a'",
        ),
        ("models: [", "not YAML"),
    ],
)
def test_load_models_wrong_file_says_where_and_what(tmp_path: Path, text: str, complaint: str) -> None:
    """The message names the model, the field and the mending."""
    with pytest.raises(ConfigError, match=complaint):
        load_models(models_file(tmp_path, text))


def test_load_models_missing_file_names_the_setting(tmp_path: Path) -> None:
    """The usual mistake is the path."""
    with pytest.raises(ConfigError, match="TOCSIN_MODELS_FILE"):
        load_models(tmp_path / "none.yaml")


def test_create_engine_unknown_option_lists_the_known_ones(tmp_path: Path) -> None:
    """An engine's options are checked when it is made."""
    (model,) = load_models(
        models_file(tmp_path, "models: [{name: a, engine: scripted, context_length: 8, options: {speed: 3}}]")
    )
    with pytest.raises(ConfigError, match=r"speed.*tokens_per_s"):
        create_engine(model)


def test_create_engine_whose_library_is_missing_names_it(tmp_path: Path) -> None:
    """It is installed in its own image only."""
    if importlib.util.find_spec("vllm"):
        pytest.skip("vLLM is installed here")
    (model,) = load_models(
        models_file(tmp_path, "models: [{name: a, engine: vllm, context_length: 8, options: {model: big}}]")
    )
    with pytest.raises(ConfigError, match="engine vllm needs vllm"):
        create_engine(model)

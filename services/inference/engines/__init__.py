"""What generates tokens, one file an engine."""

import importlib
from collections.abc import Mapping

from pydantic import BaseModel, ValidationError

from services.common.errors import ConfigError
from services.common.errors.value_rules import rule_of, shown
from services.common.requests.model_catalogue import EngineName, ModelConfig
from services.inference.engines.base import Engine

_CLASSES: Mapping[EngineName, tuple[str, str]] = {
    "llamacpp": ("LlamaCppEngine", "LlamaCppOptions"),
    "openai_compatible": ("OpenAICompatibleEngine", "OpenAICompatibleOptions"),
    "scripted": ("ScriptedEngine", "ScriptedOptions"),
    "transformers": ("TransformersEngine", "TransformersOptions"),
    "vllm": ("VllmEngine", "VllmOptions"),
}
"""An engine's class and that of its options, in the module of its name."""


def create_engine(config: ModelConfig) -> Engine:
    """The engine that a model asks for, not started yet; imports that engine's
    libraries only.

    Raises:
        ConfigError: an option is wrong, or the engine's library is not installed.
    """
    engine_class, options_class = _CLASSES[config.engine]
    try:
        module = importlib.import_module(f"{__name__}.{config.engine}")
    except ImportError as error:
        raise ConfigError(
            f"model {config.name}: engine {config.engine} needs {error.name}, which is not installed"
        ) from error
    engine: Engine = getattr(module, engine_class)(config, _options(config, getattr(module, options_class)))
    return engine


def _options(config: ModelConfig, kind: type[BaseModel]) -> BaseModel:
    try:
        return kind.model_validate(dict(config.options))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, detail['loc']))}: {rule_of(detail)}{shown(detail)}"
            for detail in error.errors()
        )
        raise ConfigError(
            f"model {config.name}: options of engine {config.engine}: {problems}; it knows "
            f"{sorted(kind.model_fields)}"
        ) from error

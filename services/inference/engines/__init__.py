"""What generates tokens, one file an engine."""

from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from services.common.errors import ConfigError
from services.common.model_catalogue import EngineName, ModelConfig
from services.inference.engines.base import Engine

Options = TypeVar("Options", bound=BaseModel)


def create_engine(config: ModelConfig) -> Engine:
    """The engine that a model asks for, not started yet; imports that engine's libraries only.

    Raises:
        ConfigError: an option is wrong, or the engine's library is not installed.
    """
    try:
        return _MAKERS[config.engine](config)
    except ImportError as error:
        raise ConfigError(f"model {config.name}: engine {config.engine} needs {error.name}, which is not installed") from error


def _options(config: ModelConfig, kind: type[Options]) -> Options:
    try:
        return kind.model_validate(dict(config.options))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors())
        raise ConfigError(f"model {config.name}: options of engine {config.engine}: {problems}; it knows {sorted(kind.model_fields)}") from error


def _scripted(config: ModelConfig) -> Engine:
    from services.inference.engines.scripted import ScriptedEngine, ScriptedOptions  # noqa: PLC0415  each engine's libraries only where it runs

    return ScriptedEngine(config, _options(config, ScriptedOptions))


def _llamacpp(config: ModelConfig) -> Engine:
    from services.inference.engines.llamacpp import LlamaCppEngine, LlamaCppOptions  # noqa: PLC0415

    return LlamaCppEngine(config, _options(config, LlamaCppOptions))


def _openai_compatible(config: ModelConfig) -> Engine:
    from services.inference.engines.openai_compatible import OpenAICompatibleEngine, OpenAICompatibleOptions  # noqa: PLC0415

    return OpenAICompatibleEngine(config, _options(config, OpenAICompatibleOptions))


def _transformers(config: ModelConfig) -> Engine:
    from services.inference.engines.transformers import TransformersEngine, TransformersOptions  # noqa: PLC0415

    return TransformersEngine(config, _options(config, TransformersOptions))


def _vllm(config: ModelConfig) -> Engine:
    from services.inference.engines.vllm import VllmEngine, VllmOptions  # noqa: PLC0415

    return VllmEngine(config, _options(config, VllmOptions))


_MAKERS: dict[EngineName, Callable[[ModelConfig], Engine]] = {
    "llamacpp": _llamacpp,
    "openai_compatible": _openai_compatible,
    "scripted": _scripted,
    "transformers": _transformers,
    "vllm": _vllm,
}

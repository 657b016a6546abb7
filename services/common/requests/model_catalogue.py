"""The models that an installation offers, as its models file declares them.

The gateway reads names, lanes, capabilities and prices here, inference reads what to
run. Adding a model is a matter of this file alone.
"""

from collections.abc import Collection, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from services.common.errors import ConfigError
from services.common.errors.value_rules import rule_of

EngineName = Literal["llamacpp", "transformers", "vllm", "openai_compatible", "scripted"]
Lane = Literal["interactive", "batch"]
Continuation = Literal["exact", "approximate", "none"]

_SAMPLING = frozenset(
    {
        "max_tokens",
        "temperature",
        "top_p",
        "stop",
        "seed",
        "n",
        "logprobs",
        "top_logprobs",
        "presence_penalty",
        "frequency_penalty",
    }
)
_EXTRA_SAMPLING = frozenset({"top_k", "min_p", "repetition_penalty"})
"""Beyond OpenAI's API; llama.cpp's and vLLM's servers take them."""
_TOOLS = frozenset({"tools", "tool_choice", "parallel_tool_calls"})
_ALL = (
    _SAMPLING
    | _TOOLS
    | {"chat", "completion", "logit_bias", "response_format.json_object", "response_format.json_schema"}
)
ENGINE_CAPABILITIES: Mapping[EngineName, frozenset[str]] = {
    "llamacpp": _ALL | _EXTRA_SAMPLING,
    "transformers": frozenset({"chat", "completion", "max_tokens", "temperature", "top_p", "stop", "n"}),
    "vllm": _ALL | _EXTRA_SAMPLING,
    "openai_compatible": _ALL,
    "scripted": frozenset({"chat", "completion", "max_tokens", "stop", "seed", "n", "logprobs"}),
}
"""What each engine honours: the kinds of request, and the request's fields by their own
names.
"""
OPTIONAL_CAPABILITIES: Mapping[EngineName, frozenset[str]] = {
    "openai_compatible": _EXTRA_SAMPLING,
    "scripted": _ALL,
}
"""What an engine honours only where the models file says so: it depends on the
upstream, or (of `scripted`, which has no probabilities to bend) on what a test wants to
see taken.
"""

ENGINE_CONTINUATION: Mapping[EngineName, Continuation] = {
    "llamacpp": "approximate",
    "transformers": "approximate",
    "vllm": "approximate",
    "openai_compatible": "none",
    "scripted": "exact",
}
"""Whether text continued after a failover is the very text of an undisturbed run, a
sensible one, or cannot be continued at all.
"""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Replicas(_Frozen):
    """Between how many replicas autoscaling may choose."""

    min: int = Field(default=1, ge=0)
    max: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min > self.max:
            raise ValueError(
                f"replicas.min is {self.min} and replicas.max {self.max}: raise max or lower min"
            )
        return self


MAX_PRICE_USD = 10_000
PRICE_DECIMALS = 6
"""As large and as fine as the store's cost of a request can bear."""
Dollars = Annotated[Decimal, Field(ge=0, le=MAX_PRICE_USD, decimal_places=PRICE_DECIMALS)]


class Price(_Frozen):
    """US dollars for a million tokens and for a request. None means unknown: what costs
    nothing says 0.

    Cached tokens are those of the prompt that the engine need not compute again; left
    out, they cost as much as the others.
    """

    input_per_million_usd: Dollars | None = None
    cached_input_per_million_usd: Dollars | None = None
    output_per_million_usd: Dollars | None = None
    per_request_usd: Dollars = Decimal(0)

    @property
    def cached_rate(self) -> Decimal | None:
        """What a million cached tokens cost."""
        cached = self.cached_input_per_million_usd
        return self.input_per_million_usd if cached is None else cached


class SamplingDefaults(_Frozen):
    """What holds where a request says nothing."""

    temperature: float = Field(default=1.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)


class ModelConfig(_Frozen):
    """One model as the models file declares it."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,62}$")]
    """Part of topic names, hence letters, digits, dots and hyphens only; `aliases` may
    be anything.
    """
    aliases: tuple[str, ...] = ()
    description: str = ""
    owned_by: str = "tocsin"
    engine: EngineName
    options: Mapping[str, Any] = Field(default_factory=dict)
    """The engine's own; checked when the engine is made."""
    lanes: tuple[Lane, ...] = Field(default=("interactive", "batch"), min_length=1)
    slots: int = Field(default=4, ge=1)
    """Requests that one replica serves at a time."""
    replicas: Replicas = Replicas()
    num_cpus: float = Field(default=1.0, ge=0)
    num_gpus: float = Field(default=0.0, ge=0)
    price: Price = Price()
    context_length: int = Field(ge=1)
    """Tokens of prompt and answer together."""
    default_max_tokens: int | None = Field(default=None, ge=1)
    """The `max_tokens` of requests that name none, no bound on those that do.

    None: whatever the context leaves.
    """
    sampling: SamplingDefaults = SamplingDefaults()
    capabilities: frozenset[str] = frozenset()
    """What the model honours; may name fewer than its engine, never more.

    Left out: all of the engine's.
    """
    continuation: Continuation = "none"
    """What becomes of a stream whose replica dies. Left out: what the engine does."""

    @model_validator(mode="before")
    @classmethod
    def _derive_from_engine(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or data.get("engine") not in ENGINE_CAPABILITIES:
            return data
        engine: EngineName = data["engine"]
        return {
            "capabilities": ENGINE_CAPABILITIES[engine],
            "continuation": ENGINE_CONTINUATION[engine],
        } | dict(data)

    @model_validator(mode="after")
    def _within_engine(self) -> Self:
        possible = ENGINE_CAPABILITIES[self.engine] | OPTIONAL_CAPABILITIES.get(self.engine, frozenset())
        excess = sorted(self.capabilities - possible)
        if excess:
            raise ValueError(
                f"capabilities {excess} are beyond engine {self.engine}, which has "
                f"{sorted(possible)}: remove them"
            )
        return self

    @property
    def served_names(self) -> tuple[str, ...]:
        """Every name that a client may call the model by."""
        return (self.name, *self.aliases)

    def is_open_to(self, models: Collection[str]) -> bool:
        """Whether a key for these models may use it; one that names none may use all."""
        return not models or any(name in models for name in self.served_names)


class _ModelsFile(_Frozen):
    models: tuple[ModelConfig, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        seen: set[str] = set()
        for name in (name for model in self.models for name in model.served_names):
            if name in seen:
                raise ValueError(f"two models answer to {name!r}: change a name or an alias")
            seen.add(name)
        return self


def load_models(path: Path | str) -> tuple[ModelConfig, ...]:
    """The models that a YAML file declares, in its order.

    Raises:
        ConfigError: the file cannot be read or declares something that cannot be
            served; says where and what to change.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"models file {path} cannot be read ({error.strerror}): set TOCSIN_MODELS_FILE to one that can"
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"models file {path} is not YAML: {error}") from error
    try:
        return _ModelsFile.model_validate(content).models
    except ValidationError as error:
        raise ConfigError(
            f"models file {path}:\n" + "\n".join(_explain(detail, content) for detail in error.errors())
        ) from error


def _explain(detail: Mapping[str, Any], content: object) -> str:
    place = ".".join(str(part) for part in detail["loc"]) or "the file"
    match detail["loc"]:
        case ("models", int(index), *_) if isinstance(content, Mapping):
            entry = content["models"][index]
            place += f" (model {entry.get('name', '?')!r})" if isinstance(entry, Mapping) else ""
    given = detail.get("input")
    shown = "" if isinstance(given, Mapping | list) or given is None else f"; it is {given!r}"
    return f"  {place}: {rule_of(detail, _ModelsFile)}{shown}"

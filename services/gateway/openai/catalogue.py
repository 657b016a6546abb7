"""The models that a caller may use."""

from collections.abc import Iterable
from typing import Any

from services.common.control.principal import Principal
from services.common.requests.model_catalogue import ModelConfig
from services.gateway.problems import no_such_model


class Catalogue:
    """Finds models by any of their names.

    `created` is what clients are told of when they came, in Unix seconds.
    """

    def __init__(self, models: Iterable[ModelConfig], *, created: int) -> None:
        self.models = tuple(models)
        self._created = created
        self._by_name = {name: model for model in self.models for name in model.served_names}

    def find(self, name: str, caller: Principal) -> ModelConfig:
        """A model by name or alias.

        Raises:
            ProblemError: 404, there is none, or this caller may not use it.
        """
        model = self._by_name.get(name)
        if model is None or not model.is_open_to(caller.models):
            raise no_such_model(name)
        return model

    def canonical_name(self, name: str) -> str:
        """A model's own name, by any of its names; another name as it is."""
        model = self._by_name.get(name)
        return name if model is None else model.name

    def open_to(self, caller: Principal) -> tuple[ModelConfig, ...]:
        """All models that a caller may use."""
        return tuple(model for model in self.models if model.is_open_to(caller.models))

    def describe(self, model: ModelConfig, name: str | None = None) -> dict[str, Any]:
        """A model as OpenAI's API shows it."""
        return {
            "id": name or model.name,
            "object": "model",
            "created": self._created,
            "owned_by": model.owned_by,
        }

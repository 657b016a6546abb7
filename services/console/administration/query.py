"""A query string as a model: what it does not know is an error."""

from collections.abc import Collection
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from services.common.errors.value_rules import rule_of, shown
from services.common.http.problems import malformed

Query = TypeVar("Query", bound=BaseModel)


def names_of(kind: type[BaseModel]) -> tuple[str, ...]:
    """What a model's parameters are called in a query string."""
    return tuple(info.alias or name for name, info in kind.model_fields.items())


def read_query(
    request: Request, kind: type[Query], known: Collection[str], repeated: Collection[str] = ()
) -> Query:
    """The parameters of a request; those of `repeated` may come several times.

    Raises:
        ProblemError: 400, one is not known, comes twice, or is not as it must be.
    """
    given = request.query_params.multi_items()
    for name, _ in given:
        if name not in known:
            raise malformed(f"{name!r} is no parameter here; there are {', '.join(known)}.", name)
        if name not in repeated and sum(name == other for other, _ in given) > 1:
            raise malformed(f"{name}: send it once.", name)
    try:
        lists = {name: request.query_params.getlist(name) for name in repeated}
        return kind.model_validate(dict(given) | {name: found for name, found in lists.items() if found})
    except ValidationError as error:
        found = error.errors(include_url=False)
        errors = [(str(one["loc"][0]), f"{rule_of(one, kind)}{shown(one)}") for one in found]
        raise malformed("; ".join(f"{name}: {text}" for name, text in errors) + ".", errors[0][0]) from error

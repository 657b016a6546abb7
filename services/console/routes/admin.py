"""/api/admin: every kind of entry, listed, made, changed, deleted and restored alike."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter
from pydantic import BaseModel, Field, create_model
from starlette.requests import Request
from starlette.responses import Response

from services.common.http.docs.openapi import header
from services.common.http.request_body import BodyLimits, read_json
from services.common.http.responses import json_response
from services.console.administration.administrators import Administrators
from services.console.administration.authorisation import Verb
from services.console.administration.bodies import RotateKey
from services.console.administration.entry_service import EntryService
from services.console.administration.if_match import read_if_match
from services.console.administration.kinds import KINDS, PRIVATE, VIEWS, Display, EntryKind
from services.console.administration.listing import COMMON_FILTERS, Filters
from services.console.administration.query import read_query
from services.console.routes.documentation import body_of, path_of, problems, query_of

_PREFIX = "/api/admin"
_IF_MATCH = header("If-Match", "The entry's ETag: the change is made of this version only, else 412.")

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]


@dataclass(frozen=True)
class _Routes:
    """The endpoints of one kind."""

    kind: EntryKind
    admins: Administrators
    entries: EntryService
    display: Display
    limits: BodyLimits

    async def list(self, request: Request) -> Response:
        principal = self.admins.principal(request)
        filters = read_query(request, Filters, (*COMMON_FILTERS, *self.kind.filters))
        entries, cursor = self.entries.list(principal, self.kind, filters)
        body = {"data": [self.display.shown(one) for one in entries], "next_cursor": cursor}
        return json_response(body, headers=PRIVATE)

    async def get(self, request: Request) -> Response:
        return self.display.response(
            self.entries.get(self.admins.principal(request), self.kind, self._id(request))
        )

    async def create(self, request: Request) -> Response:
        admin = self.admins.administrator(request)
        body = await read_json(request, self.kind.create, self.limits)
        entry, clear = await self.entries.create(admin, self.kind, body)
        place = "/".join(quote(part, safe="") for part in self.kind.location(entry.entry_id))
        return self.display.response(entry, clear, 201, {"location": f"{_PREFIX}/{place}"})

    async def change(self, request: Request) -> Response:
        admin, tags = self.admins.administrator(request), _tags(request)
        body = await read_json(request, self.kind.change, self.limits)
        return self.display.response(
            await self.entries.change(admin, self.kind, self._id(request), body, tags)
        )

    def act(self, verb: Verb) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            admin, tags = self.admins.administrator(request), _tags(request)
            entry = await self.entries.act(admin, self.kind, verb, self._id(request), tags)
            return (
                Response(status_code=204, headers=PRIVATE) if entry is None else self.display.response(entry)
            )

        return endpoint

    async def rotate(self, request: Request) -> Response:
        admin, tags = self.admins.administrator(request), _tags(request)
        body = await read_json(request, RotateKey, self.limits, empty=RotateKey())
        return self.display.response(
            *await self.entries.rotate(admin, self.kind, self._id(request), body.overlap_s, tags)
        )

    def _id(self, request: Request) -> str:
        return self.kind.entry_id(request.path_params)


class SecretOnce(BaseModel):
    """What is shown this once."""

    key: str = Field(description="The key in clear, `tsn_...`: only its hash is kept.")


NEW_KEY = create_model("NewKey", __base__=(SecretOnce, VIEWS["key"]))


def admin_router(
    admins: Administrators, entries: EntryService, display: Display, limits: BodyLimits
) -> APIRouter:
    """Administration of every kind."""
    router = APIRouter(prefix=_PREFIX, tags=["Administration"])
    for kind in KINDS:
        _add(router, _Routes(kind, admins, entries, display, limits))
    return router


def _add(router: APIRouter, routes: _Routes) -> None:
    kind = routes.kind
    all_, one = f"/{kind.plural}", f"/{kind.plural}/{kind.path}"
    at_one = path_of(kind.path)
    query = query_of(Filters, (*COMMON_FILTERS, *kind.filters))
    reads, changes = (400, 401, 403, 429, 503), (400, 401, 403, 404, 409, 412, 429, 503)
    with_body = (*changes, 408, 413, 415)
    add = _Adding(router, kind)
    made = NEW_KEY if kind.name == "key" else kind.view
    add("GET", all_, "list", "List", routes.list, _page_of(kind), reads, extra=query)
    add("POST", all_, "create", "Make", routes.create, made, with_body, 201, body_of(kind.create))
    add("GET", one, "get", "Show, deleted or not:", routes.get, kind.view, (*reads, 404), extra=at_one)
    patch = body_of(kind.change) | {"parameters": [*at_one["parameters"], *_IF_MATCH["parameters"]]}
    add("PATCH", one, "change", "Change", routes.change, kind.view, (*with_body, 428), extra=patch)
    acting = {"parameters": patch["parameters"]}
    add(
        "DELETE",
        one,
        "delete",
        "Delete, restorably:",
        routes.act(Verb.DELETE),
        kind.view,
        changes,
        extra=acting,
    )
    verbs = [("restore", "Take back the deletion of", Verb.RESTORE)]
    if kind.name == "key":
        verbs.append(("revoke", "End for good", Verb.REVOKE))
    for name, summary, verb in verbs:
        add("POST", f"{one}/{name}", name, summary, routes.act(verb), kind.view, changes, extra=acting)
    add(
        "POST",
        f"{one}/purge",
        "purge",
        "Remove for good, as a platform administrator:",
        routes.act(Verb.PURGE),
        None,
        changes,
        204,
        acting,
    )
    if kind.name == "key":
        rotate = body_of(RotateKey, required=False) | acting
        add(
            "POST",
            f"{one}/rotate",
            "rotate",
            "Give another secret to",
            routes.rotate,
            made,
            with_body,
            extra=rotate,
        )


@dataclass(frozen=True)
class _Adding:
    """Adds a kind's endpoints to a router, each documented."""

    router: APIRouter
    kind: EntryKind

    def __call__(  # noqa: PLR0917  a table's columns
        self,
        method: str,
        path: str,
        name: str,
        summary: str,
        endpoint: Endpoint,
        model: type[BaseModel] | None,
        statuses: tuple[int, ...],
        status: int = 200,
        extra: dict[str, Any] | None = None,
    ) -> None:
        self.router.add_api_route(
            path,
            endpoint,
            methods=[method],
            response_model=model,
            status_code=status,
            responses=problems(*sorted(statuses)),
            operation_id=f"{name}_{self.kind.plural}",
            name=f"{name}_{self.kind.plural}",
            summary=f"{summary} {self.kind.plural}",
            description="",
            openapi_extra=extra,
        )


def _page_of(kind: EntryKind) -> type[BaseModel]:
    fields: dict[str, Any] = {
        "data": (list.__class_getitem__(kind.view), ...),
        "next_cursor": (str | None, ...),
    }
    return create_model(f"{kind.view.__name__}Page", **fields)


def _tags(request: Request) -> frozenset[str] | None:
    return read_if_match(request.headers.get("if-match"))

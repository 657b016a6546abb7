"""What an administrator changes, as one compacted topic: the newest record of each
`kind:id` is the truth, and every service folds them into the same state.

A soft deletion is a record with `deleted_at` and can be restored; an empty record
(Kafka's tombstone) removes the entry for good. `version` counts an entry's changes from
1: it is the entry's ETag. 0 stands for a record from before versions.
"""

from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field, TypeAdapter, model_validator

from schemas.base import Message

EVERYBODY = "*"
"""The id of what holds for each tenant that has nothing of its own."""


class Scope(StrEnum):
    """What a key may do.

    `admin` administers the key's own tenant; together with `platform` every tenant and
    what holds for all of them.
    """

    INFER = "infer"
    FEEDBACK = "feedback"
    READ = "read"
    ADMIN = "admin"
    PLATFORM = "platform"


class Limits(Message):
    """Upper bounds; None means none of its own."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_streams: int | None = None


class ControlEntry(Message):
    """What every entry tells of its last change: its number, when, and by whom."""

    version: int = 0
    changed_at: AwareDatetime | None = None
    changed_by: str = ""
    deleted_at: AwareDatetime | None = None

    @property
    def entry_id(self) -> str:
        """What the entry is called among those of its kind."""
        raise NotImplementedError


class KeyChanged(ControlEntry):
    """An API key as it now stands.

    Only its HMAC travels, never the key. `models` empty means all; `revoked_at` in the
    past means refused. `record_mac` binds all other fields under the server's pepper: a
    record that somebody else edited does not authenticate. Rotating a key changes its
    secret and keeps its id, so that budgets and figures go on; the secret before it is
    good until `previous_secret_until`. `replaced_by` is not used.
    """

    kind: Literal["key"] = "key"
    key_id: str
    secret_hmac: str
    name: str
    tenant: str
    user: str = ""
    scopes: tuple[Scope, ...] = (Scope.INFER, Scope.FEEDBACK)
    models: tuple[str, ...] = ()
    created_at: AwareDatetime
    expires_at: AwareDatetime | None = None
    revoked_at: AwareDatetime | None = None
    limits: Limits | None = None
    replaced_by: str = ""
    previous_secret_hmac: str = ""
    previous_secret_until: AwareDatetime | None = None
    record_mac: str = ""

    @property
    def entry_id(self) -> str:
        """The key's public part."""
        return self.key_id


class TenantChanged(ControlEntry):
    """An organisation or a team: whom keys, users and budgets belong to.

    While it is suspended, none of its keys is good. `share` weighs its turn in the
    queue against other tenants'.
    """

    kind: Literal["tenant"] = "tenant"
    tenant: str
    name: str = ""
    created_at: AwareDatetime
    suspended_at: AwareDatetime | None = None
    limits: Limits | None = None
    share: float = 1.0

    @property
    def entry_id(self) -> str:
        """The tenant's id."""
        return self.tenant


class UserChanged(ControlEntry):
    """A user of a tenant.

    `scopes` bound what a token of an identity provider gives; keys have their own.
    """

    kind: Literal["user"] = "user"
    tenant: str
    user: str
    name: str = ""
    scopes: tuple[Scope, ...] = (Scope.INFER, Scope.FEEDBACK)
    created_at: AwareDatetime
    suspended_at: AwareDatetime | None = None
    limits: Limits | None = None

    @property
    def entry_id(self) -> str:
        """`tenant/user`."""
        return f"{self.tenant}/{self.user}"


class Subject(Message):
    """Whom a budget is for: `id` is the `entry_id` of a key, user, tenant or model."""

    kind: Literal["key", "user", "tenant", "model"]
    id: str


class BudgetChanged(ControlEntry):
    """How much may be spent a day or a month of `time_zone`.

    A hard budget refuses what would exceed it, a soft one only warns. `warn_at` are
    shares of the limit.
    """

    kind: Literal["budget"] = "budget"
    budget_id: str
    tenant: str
    subject: Subject
    period: Literal["day", "month"]
    time_zone: str = "UTC"
    limit_usd: Decimal
    hard: bool = False
    warn_at: tuple[Decimal, ...] = (Decimal("0.8"), Decimal(1))
    created_at: AwareDatetime

    @property
    def entry_id(self) -> str:
        """The budget's id."""
        return self.budget_id


class ModelPrice(Message):
    """Prices in US dollars from a day (UTC) on, until a later one begins.

    None means unknown, which is not free.
    """

    valid_from: date
    input_per_million_usd: Decimal | None = None
    cached_input_per_million_usd: Decimal | None = None
    output_per_million_usd: Decimal | None = None
    per_request_usd: Decimal = Decimal(0)


class ModelChanged(ControlEntry):
    """What is changed of a model of the models file while it runs.

    `prices` keep their history: a change adds one. Empty means the file's price.
    """

    kind: Literal["model"] = "model"
    model: str
    enabled: bool = True
    prices: tuple[ModelPrice, ...] = ()
    limits: Limits | None = None

    @property
    def entry_id(self) -> str:
        """The model's name."""
        return self.model


class RouteTarget(Message):
    """A model that serves a route, with its share of the requests."""

    model: str
    weight: float = 1.0


class RouteChanged(ControlEntry):
    """A name that clients ask for, and the models that serve it.

    `fallbacks` are tried in turn where the targets cannot serve. `cascade_below` sends
    an answer of lower mean log-probability to the first fallback.
    """

    kind: Literal["route"] = "route"
    route: str
    tenant: str = EVERYBODY
    targets: tuple[RouteTarget, ...]
    fallbacks: tuple[str, ...] = ()
    cascade_below: float | None = None

    @property
    def entry_id(self) -> str:
        """`tenant/route`."""
        return f"{self.tenant}/{self.route}"


SCORES = frozenset({"low", "medium", "high", "critical"})
"""The fields of thresholds that are scores."""
_SCORES = SCORES | {"scores_named"}


class ThresholdsChanged(ControlEntry):
    """From which score on a prompt is of which risk, and how many requests an hour a
    user may send: of no risk, after up to three findings, after more (None: as `*` has
    it, else only those of whom something was found are limited, to 50 and 10). Where
    not `scores_named`, the scores are those of `*`, else of the installation.
    """

    kind: Literal["thresholds"] = "thresholds"
    tenant: str = EVERYBODY
    scores_named: bool = True
    low: float = 3
    medium: float = 7
    high: float = 12
    critical: float = 20
    requests_per_hour: tuple[int, int, int] | None = None

    @property
    def entry_id(self) -> str:
        """The tenant, or `*`."""
        return self.tenant

    @model_validator(mode="before")
    @classmethod
    def _names_what_it_was_given(cls, values: Any) -> Any:
        """Who only says how many requests a user may send leaves the scores as they are."""
        if isinstance(values, dict) and values.get("requests_per_hour") and not values.keys() & _SCORES:
            return {"scores_named": False} | values
        return values


RETAINED = ("requests", "feedback", "findings", "breaches", "alerts", "dead_letters")
"""What holds texts that a policy lets be removed, each for itself."""


class PolicyChanged(ControlEntry):
    """What is done about a tenant's prompts and answers.

    A prompt at or above `block_at` is refused where `prompt_attacks` is `block`.
    `secrets` are given to the model (`allow`), hidden from it (`mask`), or the prompt is
    refused; `mask_prompt` hides personal data from it. Where `scan_output`, answers are
    looked at: `output_leaks` (secrets, the system prompt) and `output_personal` (data of
    others) are masked on their way, end the answer (`cut`), or are only found out
    afterwards (`observe`). `store_text` says what the store keeps; `inspection_ms` is
    the model's time for an opinion (None: as `*` has it, else the gateway's setting).
    Texts are kept for `retention_days` in the store (None: as long as their rows), but
    for so many days in the tables that `retention_by_table` names (`RETAINED`; None: as all).
    """

    kind: Literal["policy"] = "policy"
    tenant: str = EVERYBODY
    prompt_attacks: Literal["off", "observe", "flag", "block"] = "block"
    block_at: Literal["low", "medium", "high", "critical"] = "critical"
    secrets: Literal["allow", "mask", "block"] = "allow"
    mask_prompt: bool = False
    scan_output: bool = True
    output_leaks: Literal["observe", "mask", "cut"] = "observe"
    output_personal: Literal["observe", "mask", "cut"] = "observe"
    store_text: Literal["masked", "none", "raw"] = "masked"
    inspection_ms: float | None = None
    retention_days: int | None = None
    retention_by_table: dict[str, int | None] = Field(default_factory=dict)

    @property
    def entry_id(self) -> str:
        """The tenant, or `*`."""
        return self.tenant


AnyEntry = (
    KeyChanged
    | TenantChanged
    | UserChanged
    | BudgetChanged
    | ModelChanged
    | RouteChanged
    | ThresholdsChanged
    | PolicyChanged
)
Change = Annotated[AnyEntry, Field(discriminator="kind")]
CONTROL_CHANGE: TypeAdapter[AnyEntry] = TypeAdapter(Change)


def control_key(kind: str, entry_id: str) -> str:
    """The record key of an entry on the control topic."""
    return f"{kind}:{entry_id}"

"""What administrators send: a body for making an entry of each kind, and one for
changing it.

No field is passed over silently: what a body does not know is an error, and so is what
only the server sets (ids of a path, versions, hashes).
"""

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, create_model

from schemas.control import RETAINED, Scope

_MOST = 10**12
RetainedTable = Annotated[str, Field(pattern=f"^({'|'.join(RETAINED)})$")]
Name = Annotated[str, Field(max_length=200, description="What people call it.")]
Text = Annotated[str, Field(min_length=1, max_length=200)]
Count = Annotated[int, Field(ge=0, le=_MOST)]
Dollars = Annotated[Decimal, Field(ge=0, le=_MOST, max_digits=30)]
Share = Annotated[Decimal, Field(gt=0, le=10, max_digits=6)]
Tenant = Annotated[
    str | None,
    Field(
        max_length=64,
        description="Whose it is. A tenant's administrator may leave it out; a platform administrator names "
        "it.",
    ),
]
TenantOrAll = Annotated[
    str | None,
    Field(max_length=64, description="Whose it is, as for keys; * is for all that have none of their own."),
]
Suspended = Annotated[bool, Field(description="While it is, all its keys are refused.")]


class Body(BaseModel):
    """A body, of which every field is known."""

    model_config = ConfigDict(extra="forbid")


class LimitsBody(Body):
    """Upper bounds; null means none of its own."""

    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    concurrent_streams: Count | None = None


class CreateTenant(Body):
    """An organisation or a team."""

    tenant: Annotated[str, Field(max_length=64, description="Its id; it cannot be changed.")]
    name: Name = ""
    limits: LimitsBody | None = None
    share: Annotated[float, Field(ge=0.01, le=100)] = 1.0


class CreateUser(Body):
    """A user of a tenant."""

    tenant: Tenant = None
    user: Annotated[str, Field(max_length=128, description="The id that keys and tokens name.")]
    name: Name = ""
    scopes: Annotated[
        tuple[Scope, ...],
        Field(max_length=16, description="What an identity provider's token gives at most."),
    ] = (Scope.INFER, Scope.FEEDBACK)
    limits: LimitsBody | None = None


class CreateKey(Body):
    """An API key; the server draws its id and secret."""

    tenant: Tenant = None
    user: Annotated[str, Field(max_length=128, description="Whom its requests count for.")] = ""
    name: Name
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1, max_length=16)] = (Scope.INFER, Scope.FEEDBACK)
    models: Annotated[tuple[Text, ...], Field(max_length=100, description="Empty means all.")] = ()
    expires_at: Annotated[AwareDatetime | None, Field(description="null means never.")] = None
    limits: LimitsBody | None = None


class SubjectBody(Body):
    """Whom a budget is for: a key's id, `tenant/user`, a tenant or a model."""

    kind: Literal["key", "user", "tenant", "model"]
    id: Annotated[str, Field(min_length=1, max_length=200)]


class CreateBudget(Body):
    """How much may be spent a day or a month."""

    budget_id: Annotated[
        str | None,
        Field(
            max_length=64, description="Drawn where it is left out; a tenant's administrator has no choice."
        ),
    ] = None
    tenant: Tenant = None
    subject: SubjectBody
    period: Literal["day", "month"]
    time_zone: Annotated[str, Field(max_length=64)] = "UTC"
    limit_usd: Dollars
    hard: Annotated[bool, Field(description="Refuse what exceeds it, rather than only warn.")] = False
    warn_at: Annotated[tuple[Share, ...], Field(max_length=10, description="Shares of the limit.")] = (
        Decimal("0.8"),
        Decimal(1),
    )


class PriceBody(Body):
    """Prices in US dollars from a day (UTC) on; null means unknown, which is not free."""

    valid_from: date
    input_per_million_usd: Dollars | None = None
    cached_input_per_million_usd: Dollars | None = None
    output_per_million_usd: Dollars | None = None
    per_request_usd: Dollars = Decimal(0)


class CreateModel(Body):
    """What is changed of a model of the models file."""

    model: Text
    enabled: bool = True
    prices: Annotated[
        tuple[PriceBody, ...], Field(max_length=1000, description="The earliest first; empty: the file's.")
    ] = ()
    limits: LimitsBody | None = None


class TargetBody(Body):
    """A model that serves a route, with its share of the requests."""

    model: Text
    weight: Annotated[float, Field(ge=1e-6, le=1e6)] = 1.0


class CreateRoute(Body):
    """A name that clients ask for, and the models that serve it."""

    tenant: TenantOrAll = None
    route: Text
    targets: Annotated[tuple[TargetBody, ...], Field(min_length=1, max_length=100)]
    fallbacks: Annotated[tuple[Text, ...], Field(max_length=100)] = ()
    cascade_below: Annotated[float | None, Field(le=0, description="A mean log-probability.")] = None


class CreateThresholds(Body):
    """From which score on a prompt is of which risk, and how many requests an hour a
    user may send then.
    """

    tenant: TenantOrAll = None
    low: float = 3
    medium: float = 7
    high: float = 12
    critical: float = 20
    requests_per_hour: Annotated[
        tuple[Count, Count, Count] | None,
        Field(
            description="Of a user without findings, after up to three, after more. Not named: as `*` has "
            "it, else only users with findings are limited, to 50 and 10."
        ),
    ] = None


class CreatePolicy(Body):
    """What is done about a tenant's prompts and answers."""

    tenant: TenantOrAll = None
    prompt_attacks: Literal["off", "observe", "flag", "block"] = "block"
    block_at: Literal["low", "medium", "high", "critical"] = "critical"
    secrets: Literal["allow", "mask", "block"] = "allow"
    mask_prompt: bool = False
    scan_output: bool = True
    output_leaks: Literal["observe", "mask", "cut"] = "observe"
    output_personal: Literal["observe", "mask", "cut"] = "observe"
    store_text: Literal["masked", "none", "raw"] = "masked"
    inspection_ms: Annotated[
        float | None,
        Field(
            ge=0,
            le=1000,
            description="How long a suspicious prompt waits for the model's opinion. Not named: as `*` has "
            "it, else TOCSIN_INSPECT_BUDGET_MS.",
        ),
    ] = None
    retention_days: Annotated[int | None, Field(ge=1, le=10_000)] = None
    retention_by_table: Annotated[
        dict[RetainedTable, Annotated[int, Field(ge=1, le=10_000)] | None],
        Field(description="Days for tables that shall differ from `retention_days`; null: as all."),
    ] = Field(default_factory=dict)


class RotateKey(Body):
    """How a key gets another secret."""

    overlap_s: Annotated[
        float, Field(ge=0, le=30 * 86_400, description="How long the present secret stays good.")
    ] = 86_400


def change_of(made: type[Body], *fixed: str, **more: Any) -> type[Body]:
    """The body that changes an entry: what makes it, less what is fixed, each field
    optional; `more` are further fields' types.
    """
    fields: dict[str, Any] = {
        name: (Annotated[(info.annotation, *info.metadata, Field(description=info.description))], None)
        for name, info in made.model_fields.items()
        if name not in fixed
    }
    fields |= {name: (annotation, None) for name, annotation in more.items()}
    return create_model(
        made.__name__.replace("Create", "Change"),
        __base__=Body,
        __doc__="Only what is named changes (RFC 7396): of an object what it names, a list as a whole; null "
        "takes away what may be absent.",
        **fields,
    )


ChangeTenant = change_of(CreateTenant, "tenant", suspended=Suspended)
ChangeUser = change_of(CreateUser, "tenant", "user", suspended=Suspended)
ChangeKey = change_of(CreateKey, "tenant", "user")
ChangeBudget = change_of(CreateBudget, "budget_id", "tenant", "subject")
ChangeModel = change_of(CreateModel, "model")
ChangeRoute = change_of(CreateRoute, "tenant", "route")
ChangeThresholds = change_of(CreateThresholds, "tenant")
ChangePolicy = change_of(CreatePolicy, "tenant")

"""Back-dated requests, made inside the store: an INSERT SELECT from numbers(), several
hundred thousand a second.

Request number n follows from n and the seed alone, so the same numbers give the same
rows. Days have a rhythm, tenants and users follow a power law, latencies are lognormal
with a scale of each model. The rows carry places in the log and the producer's count as
real ones do, so the ledger and the rollups hold for them, too.
"""

from dataclasses import dataclass
from datetime import datetime

from services.common.store import Store

TENANTS, MODELS, USERS = 20, 6, 500
_BLOCK = 250_000


@dataclass(frozen=True, slots=True)
class Traffic:
    """How many requests, over how many days up to `end` (UTC)."""

    requests: int
    days: int
    end: datetime
    tenants: int = TENANTS
    users: int = USERS
    seed: int = 1


async def generate(store: Store, traffic: Traffic) -> None:
    """Inserts them in blocks, the oldest first. Once: there is no deduplication.

    Raises:
        StoreUnavailableError: not now.
    """
    for begin in range(0, traffic.requests, _BLOCK):
        count = min(_BLOCK, traffic.requests - begin)
        await store.command(
            _SQL,
            {
                "begin": begin,
                "count": count,
                "total": traffic.requests,
                "days": traffic.days,
                "tenants": traffic.tenants,
                "users": traffic.users,
                "seed": traffic.seed,
                "end": traffic.end.strftime("%Y-%m-%d %H:%M:%S"),
            },
        )


def _uniform(salt: int) -> str:
    """A number in (0, 1) that follows from the request's."""
    return f"((bitShiftRight(cityHash64(n, {salt}, {{seed:UInt32}}), 11) + 1) / 9007199254740994.)"


# A day's density is 1 - .72 cos(2 pi t): most at noon, little at midnight.
_SQL = f"""
INSERT INTO inference_events
(
    completed_at, requested_at, tenant, model, request_id, key_id, user, kind, lane, stream, outcome,
    finish_reasons, error_code, attempts, replica_id, prompt_tokens, cached_tokens, completion_tokens,
    cost_usd, duration_ms, queue_ms, ttft_ms, tokens_per_s, mean_logprob, prompt_chars, response_chars,
    event_id, occurred_at, source, sequence, topic, partition, offset
)
WITH
    number + {{begin:UInt64}} AS n,
    (n + 0.5) / {{total:UInt64}} * {{days:UInt32}} AS linear,
    linear - 0.72 / (2 * pi()) * sin(2 * pi() * linear) AS warped,
    fromUnixTimestamp64Milli(
        toInt64(toUnixTimestamp(toDateTime({{end:String}}, 'UTC'))) * 1000
        - toInt64(({{days:UInt32}} - warped) * 86400000), 'UTC') AS at,
    toUInt32(floor({{tenants:UInt32}} * pow({_uniform(1)}, 2))) AS tenant_number,
    toUInt32(floor({MODELS} * pow({_uniform(2)}, 1.5))) AS model_number,
    toUInt32(floor({{users:UInt32}} * pow({_uniform(3)}, 3))) AS user_number,
    sqrt(-2 * log({_uniform(4)})) * cos(2 * pi() * {_uniform(5)}) AS normal,
    {_uniform(6)} AS fate,
    multiIf(fate < 0.008, 'failed', fate < 0.010, 'expired', fate < 0.013, 'blocked', fate < 0.02,
            'cancelled', 'completed') AS ended,
    ended IN ('completed', 'cancelled') AS served,
    toUInt32(20 + 400 * {_uniform(7)}) AS prompted,
    if(served, toUInt32(10 + 300 * {_uniform(8)}), 0) AS answered,
    exp(log(250 + 150 * model_number) + 0.6 * normal) AS took_ms,
    took_ms * 0.05 * {_uniform(9)} AS queued_ms
SELECT
    at,
    at - toIntervalMillisecond(toInt64(took_ms)),
    concat('tenant-', leftPad(toString(tenant_number), 2, '0')),
    concat('model-', toString(model_number)),
    concat('req_', leftPad(hex(n), 16, '0')),
    concat('key', leftPad(toString(tenant_number * 10 + n % 10), 5, '0')),
    if(user_number % 50 = 0, '',
       concat('u_', leftPad(lower(hex(cityHash64(tenant_number, user_number))), 16, '0'))),
    if(n % 10 = 0, 'completion', 'chat'),
    if(n % 8 = 0, 'batch', 'interactive'),
    n % 3 = 0,
    ended,
    if(served, ['stop'], []),
    transform(ended, ['failed', 'expired', 'blocked'],
              ['replica_lost', 'deadline_exceeded', 'policy_blocked'], ''),
    if({_uniform(10)} < 0.004, 2, 1),
    concat('replica-', toString(model_number)),
    prompted,
    if(n % 5 = 0, intDiv(prompted, 2), 0),
    answered,
    if(model_number = 5, NULL, toDecimal64((prompted + 3 * answered) / 1000000, 12)),
    took_ms,
    if(ended = 'blocked', NULL, queued_ms),
    if(served, queued_ms + took_ms * 0.2, NULL),
    if(served, answered / (took_ms / 1000), NULL),
    if(served, -0.2 - {_uniform(11)}, NULL),
    prompted * 4,
    answered * 4,
    concat('event-', hex(n)),
    at,
    'generator',
    n,
    'inference.completed.v1',
    n % 12,
    intDiv(n, 12)
FROM numbers({{count:UInt64}})
"""

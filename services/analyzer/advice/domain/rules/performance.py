"""Rules about latency, errors and replicas."""

from services.analyzer.advice.domain.rule import AtLeast, Harm, Rule, ShareAbove

_REPLICAS = "raise `replicas` of {model} in the models file (infra/models/models.yaml), then `tocsin up`"

RULES: tuple[Rule, ...] = (
    Rule(
        id="slow_first_tokens",
        family="performance",
        severity="warning",
        days=28,
        subject=("model",),
        lead=AtLeast("times", 2),
        conditions=(
            AtLeast("answers_lately", 100),
            AtLeast("answers_before", 300),
            AtLeast("days_before", 7),
            AtLeast("not_queue_share", 0.7),
        ),
        harm=Harm(
            "time to the first token, 95th percentile", "ms", weekly=False, target="usual_ms", lately=True
        ),
        title="{model} takes longer to its first token than it used to, and not for a queue",
        why="The 95th percentile is {lately_ms} ms, {times} times the usual {usual_ms} ms; the queue makes "
        "{queue_ms} ms of it. So it is the engine, the machine, or longer prompts.",
        actions=(
            "tocsin query quality/where_time_goes",
            "tocsin doctor",
        ),
    ),
    Rule(
        id="long_queues",
        family="performance",
        severity="warning",
        days=7,
        subject=("model", "lane"),
        lead=ShareAbove("waited", "requests", 0.1),
        conditions=(AtLeast("requests", 200),),
        harm=Harm("share of requests that waited a second or longer", "of 1", weekly=False),
        title="Requests wait for {model} in the lane {lane}",
        why="{waited} of {requests} requests waited longer than a second, the 95th percentile is "
        "{queue_p95_ms} "
        "ms. {replicas_seen} replicas answered at most in an hour.",
        actions=(
            _REPLICAS,
            "tocsin query operations/queue",
        ),
    ),
    Rule(
        id="expired_requests",
        family="performance",
        severity="warning",
        days=7,
        subject=("model", "lane"),
        lead=ShareAbove("expired", "requests", 0.01),
        conditions=(AtLeast("expired", 10),),
        harm=Harm("share of requests that expired in the queue", "of 1", weekly=False),
        title="Requests for {model} expire in the lane {lane}",
        why="{expired} of {requests} requests were still waiting at their deadline.",
        actions=(_REPLICAS, "tocsin query operations/errors"),
    ),
    Rule(
        id="lost_replicas",
        family="performance",
        severity="warning",
        days=7,
        subject=("model",),
        lead=ShareAbove("retried", "requests", 0.01),
        conditions=(AtLeast("retried", 10),),
        harm=Harm("share of requests that took more than one replica", "of 1", weekly=False),
        title="Replicas of {model} are lost while they answer",
        why="{retried} of {requests} requests had to be taken up by another replica; "
        "{failed_after_all} of them "
        "failed after all. Memory is the first thing to look at.",
        actions=("tocsin query operations/retries", "tocsin status"),
    ),
    Rule(
        id="error_bursts",
        family="performance",
        severity="warning",
        days=14,
        subject=("model", "error_code"),
        lead=AtLeast("errors_in_bursts", 20),
        conditions=(AtLeast("hours", 1),),
        harm=Harm("requests that ended in this error", "requests a week"),
        title="{model} had hours in which half of all requests ended in {error_code}",
        why="In {hours} hours {errors_in_bursts} requests did, the newest being {newest_burst} (UTC); "
        "{worst_share} of an hour's requests at worst.",
        actions=("tocsin query operations/errors", "tocsin query operations/breaches"),
    ),
    Rule(
        id="abandoned_streams",
        family="performance",
        severity="info",
        days=14,
        subject=("model",),
        lead=ShareAbove("left", "streams", 0.2),
        conditions=(AtLeast("streams", 100),),
        harm=Harm("share of streams that clients left", "of 1", weekly=False),
        title="Clients leave streams of {model}",
        why="{left} of {streams} streams were left before their end, after {tokens_generated} "
        "generated tokens; "
        "half of them had their first token within {left_ttft_p50_ms} ms. Answers are too slow, or too long.",
        actions=(
            "tocsin query quality/where_time_goes",
            "lower `default_max_tokens` of {model} in the models file (infra/models/models.yaml)",
        ),
    ),
    Rule(
        id="slow_replicas",
        family="performance",
        severity="info",
        days=7,
        subject=("model", "replica_id"),
        lead=AtLeast("times", 1.5),
        conditions=(AtLeast("replicas", 3), AtLeast("answers", 50)),
        harm=Harm("time of a token", "ms", weekly=False, target="usual_ms_per_token"),
        title="A replica of {model} is slower than the others",
        why="{replica_id} takes {own_ms_per_token} ms a token, the middle one of {replicas} replicas "
        "{usual_ms_per_token} ms: its machine is busy with something else, or throttles.",
        actions=("tocsin status", "restart the replica, elsewhere if it stays slow"),
    ),
)

"""Rules about how the platform is used."""

from services.analyzer.advice.domain.rule import AtLeast, Harm, Rule, ShareAbove

RULES: tuple[Rule, ...] = (
    Rule(
        id="truncated_answers",
        family="usage",
        severity="info",
        days=14,
        subject=("tenant", "model"),
        lead=ShareAbove("truncated", "answered", 0.2),
        conditions=(AtLeast("answered", 100),),
        harm=Harm("share of answers that were cut", "of 1", weekly=False),
        title="Answers of {model} to {tenant} are cut off",
        why="{truncated} of {answered} answers ended because they had reached max_tokens, half of them at "
        "{cut_at_tokens} tokens or fewer.",
        actions=("tell the tenant to send a higher `max_tokens`, or raise `default_max_tokens` of {model}",),
    ),
    Rule(
        id="unused_keys",
        family="usage",
        severity="info",
        days=120,
        subject=("tenant",),
        lead=AtLeast("keys", 1),
        harm=Harm("keys that nobody uses", "keys", counted="keys"),
        title="{tenant} has API keys that nobody uses",
        why="{keys} keys were not used for thirty days, the last one on {last_used_at}; the evidence names "
        "them. Each can still be stolen.",
        actions=("tocsin keys list --tenant {tenant}", "tocsin keys revoke KEY_ID"),
    ),
    Rule(
        id="unused_models",
        family="usage",
        severity="info",
        days=60,
        subject=("model",),
        lead=AtLeast("before", 100),
        conditions=(AtLeast("unused", 1), AtLeast("all_recent", 100)),
        harm=Harm("models that nobody asks for", "models", counted="unused"),
        title="Nobody asks for {model} any more",
        why="{before} requests came for it, the last one on {last_day}; other models had {all_recent} in the "
        "last fourteen days. Its replicas hold memory all the same.",
        actions=("remove {model} from the models file (infra/models/models.yaml), then `tocsin up`",),
    ),
    Rule(
        id="silent_tenants",
        family="usage",
        severity="warning",
        days=28,
        subject=("tenant",),
        lead=AtLeast("active_share", 0.7),
        conditions=(AtLeast("silent", 1), AtLeast("before", 100), AtLeast("active_days", 10)),
        harm=Harm("tenants that have fallen silent", "tenants", counted="silent"),
        title="{tenant} has fallen silent",
        why="It asked on {active_days} of {days_before} days, and nothing in the last three. Refused "
        "calls (a "
        "key that ended, a limit, a spent budget) are no requests, so they are not in these figures.",
        actions=(
            "tocsin keys list --tenant {tenant}",
            "tocsin budgets list --tenant {tenant}",
            "ask them",
        ),
    ),
    Rule(
        id="dissatisfied_users",
        family="usage",
        severity="warning",
        days=28,
        subject=("model",),
        lead=ShareAbove("bad", "rated", 0.3),
        conditions=(AtLeast("rated", 30),),
        harm=Harm("share of rated answers that were rated bad", "of 1", weekly=False),
        title="Users are not content with {model}",
        why="{bad} of {rated} rated answers were rated bad; {with_comment} ratings say why.",
        actions=(
            "tocsin query quality/complaints",
            "tocsin query quality/satisfaction",
        ),
    ),
    Rule(
        id="night_batches",
        family="usage",
        severity="info",
        days=14,
        subject=("tenant", "key_id"),
        lead=ShareAbove("at_night", "requests", 0.7),
        conditions=(AtLeast("at_night", 500), AtLeast("nights", 5)),
        harm=Harm("requests at night in the interactive lane", "requests a week"),
        title="The key {key_id} of {tenant} does batch work in the interactive lane",
        why="{at_night} of its {requests} requests came between 0 and 6 o'clock UTC, in {nights} "
        "nights. In the "
        "batch lane they would not keep people waiting.",
        actions=('tell the owner of the key to send `"service_tier": "flex"`',),
    ),
)

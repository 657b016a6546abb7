"""Rules about money."""

from services.analyzer.advice.domain.rule import AtLeast, Harm, NotWorse, Rule, ShareAbove

_WORTH_A_SPAN = 1.0
"""US dollars in the rule's days below which nothing is said of costs."""

RULES: tuple[Rule, ...] = (
    Rule(
        id="cheaper_models",
        family="cost",
        severity="info",
        days=28,
        subject=("tenant", "model", "cheaper_model"),
        lead=AtLeast("times", 2),
        conditions=(
            AtLeast("usd", _WORTH_A_SPAN),
            AtLeast("rated", 30),
            AtLeast("cheaper_rated", 30),
            NotWorse("cheaper_good", "cheaper_rated", "good", "rated", 0.1),
        ),
        harm=Harm("dollars that the other model would have saved", "USD a week"),
        title="{tenant} may use {cheaper_model} in place of {model}",
        why="{model} costs {usd_per_million_tokens} USD a million tokens, {cheaper_model} "
        "{cheaper_usd_per_million_tokens}. Of {rated} rated answers {good} were good, of "
        "{cheaper_rated} of the "
        "cheaper one {cheaper_good}: not worse by a tenth. The same prompts are not compared, so try "
        "it first.",
        actions=(
            "tocsin routes set trial --tenant {tenant} --target {model}=0.9 --target {cheaper_model}=0.1",
        ),
    ),
    Rule(
        id="concentrated_costs",
        family="cost",
        severity="info",
        days=28,
        subject=("tenant",),
        lead=AtLeast("share_of_one", 0.5),
        conditions=(AtLeast("users", 5), AtLeast("usd_of_one", _WORTH_A_SPAN)),
        harm=Harm("dollars of the one user", "USD a week"),
        title="One user makes most of the costs of {tenant}",
        why="Of {usd} USD by {users} users one makes {usd_of_one}, most of it with {main_model}. The "
        "gain is what "
        "a budget of nothing would save: the most there is.",
        actions=(
            "tocsin costs --tenant {tenant} --group-by user",
            (
                "tocsin budgets create one-user --for user:{tenant}/USER --tenant {tenant} --limit-usd 1 "
                "--period day"
            ),
        ),
    ),
    Rule(
        id="cost_jumps",
        family="cost",
        severity="warning",
        days=28,
        subject=("tenant", "model"),
        lead=AtLeast("times", 2),
        conditions=(AtLeast("more", 0.1), AtLeast("days_before", 10), AtLeast("days_lately", 4)),
        harm=Harm("dollars", "USD a week", target="usual", lately=True),
        title="Costs of {tenant} with {model} have jumped",
        why="{lately} USD a day in the last week, {usual} before: {times} times as much.",
        actions=(
            "tocsin costs --tenant {tenant} --group-by key",
            (
                "tocsin budgets create {tenant}-daily --for tenant:{tenant} --tenant {tenant} "
                "--limit-usd {lately} --period day"
            ),
        ),
    ),
    Rule(
        id="exhausted_budgets",
        family="cost",
        severity="warning",
        days=28,
        subject=("tenant", "budget"),
        lead=AtLeast("periods", 2),
        conditions=(AtLeast("hours", 1),),
        harm=Harm("hours in which the budget was spent", "hours a week"),
        title="The budget {budget} of {tenant} is spent too early",
        why="In {periods} periods it was spent before their end, for {hours} hours together.",
        actions=(
            "tocsin costs --tenant {tenant}",
            "tocsin budgets set {budget} --limit-usd AMOUNT",
        ),
    ),
    Rule(
        id="unpriced_models",
        family="cost",
        severity="info",
        days=14,
        subject=("model",),
        lead=ShareAbove("unpriced", "requests", 0.5),
        conditions=(AtLeast("unpriced", 100),),
        harm=Harm("requests without a known price", "requests a week"),
        title="{model} has no price",
        why="Of {requests} requests {unpriced} have no known price: costs and budgets leave them out.",
        actions=("set `price` of {model} in the models file (infra/models/models.yaml)",),
    ),
    Rule(
        id="idle_replicas",
        family="cost",
        severity="info",
        days=14,
        subject=("model",),
        lead=AtLeast("spare", 1),
        conditions=(AtLeast("hours", 72), AtLeast("requests", 100)),
        harm=Harm("hours of replicas that were not needed", "replica hours a week"),
        title="{model} has more replicas than it needs",
        why="Up to {replicas_most} replicas answered in an hour; at seven tenths busy, one request "
        "at a time, "
        "{needed_most} would have been enough in the busiest hour (busy: {busy_most}). {spare_hours} of "
        "{replica_hours} replica hours were not needed. Bursts within an hour are not seen.",
        actions=(
            "lower `replicas` of {model} in the models file (infra/models/models.yaml), then `tocsin up`",
        ),
    ),
    Rule(
        id="repeated_prompts",
        family="cost",
        severity="info",
        days=7,
        subject=("tenant", "model"),
        lead=ShareAbove("repeats", "texts", 0.2),
        conditions=(AtLeast("texts", 200), AtLeast("usd", 0.1)),
        harm=Harm("dollars of prompts that had been answered before", "USD a week"),
        title="{tenant} asks {model} the same again and again",
        why="{repeats} of {texts} prompts had been asked before, letter by letter as they are "
        "stored, the most "
        "frequent one {most_often} times. Texts are stored masked, so names may differ.",
        actions=("keep answers in the application, or send an `Idempotency-Key` with retries",),
    ),
    Rule(
        id="repeated_prefixes",
        family="cost",
        severity="info",
        days=7,
        subject=("tenant", "model"),
        lead=ShareAbove("alike", "long_prompts", 0.5),
        conditions=(AtLeast("long_prompts", 100), AtLeast("computed_share", 0.5)),
        harm=Harm("tokens of the same beginnings, computed anew", "tokens a week"),
        title="Long prompts of {tenant} to {model} begin alike and are computed anew",
        why="{alike} of {long_prompts} prompts of 2,000 characters and more share their first "
        "thousand with four "
        "others; {computed_share} of their {prompt_tokens} tokens were computed.",
        actions=(
            (
                "put what changes (names, dates, ids) behind what stays the same in the prompt, and turn the "
                "prefix cache of the engine on"
            ),
        ),
    ),
)

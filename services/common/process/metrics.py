"""Every metric of Tocsin, in one file: names, units and labels are a contract with
dashboards and alerts.
"""

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

# Requests for models, by the names that dashboards for language models look for. `model`
# is one of the models file, `status` one of few.
LLM_REQUESTS = Counter(
    "llm_requests_total",
    "Requests for a model at a gateway, by how they ended: completed, cancelled, expired, failed, blocked, "
    "cache_hit; refused before they were begun; left by their client; given_up by the gateway.",
    ["model", "status"],
)
LLM_REQUEST_LATENCY_SECONDS = Histogram(
    "llm_request_latency_seconds",
    "From a request's acceptance at a gateway to its answer's end.",
    ["model"],
    buckets=_SECONDS,
)
LLM_ACTIVE_REQUESTS = Gauge("llm_active_requests", "Requests whose clients a gateway serves now.")
LLM_TOKENS_GENERATED = Counter(
    "llm_tokens_generated_total", "Tokens of the answers that a gateway's clients got.", ["model"]
)
INFERENCE_REQUESTS = Counter(
    "inference_requests_total",
    "Attempts that replicas ended, by outcome; retried ones went on elsewhere.",
    ["model", "status"],
)
INFERENCE_LATENCY_SECONDS = Histogram(
    "inference_latency_seconds",
    "From an attempt's begin at its replica to its end.",
    ["model"],
    buckets=_SECONDS,
)
MODEL_PERFORMANCE_SCORE = Gauge(
    "model_performance_score",
    "How well a model does, from 0 to 100: docs/concepts/analytics/kpi.md.",
    ["model"],
)

# The bus.
BUS_SKIPPED = Counter(
    "tocsin_bus_skipped_total",
    "Records that were passed over: a kind that this version does not know, unreadable, stale, or a key's "
    "removal.",
    ["topic", "why"],
)

PRODUCERS_REPLACED = Counter(
    "tocsin_bus_producers_replaced_total", "Producers that failed for good and were replaced."
)

# Inference: what the heartbeats and ends on the bus say.
DISPATCH_WAITING = Gauge("tocsin_dispatch_waiting", "Requests that wait for a slot.", ["model", "lane"])
DISPATCH_SLOTS = Gauge("tocsin_dispatch_slots", "Slots of the live replicas.", ["model"])
DISPATCH_RUNNING = Gauge("tocsin_dispatch_running", "Requests that replicas hold.", ["model"])
REPLICA_RUNNING = Gauge("tocsin_replica_running", "Requests that a replica generates.", ["model", "replica"])
REPLICA_TOKENS_PER_SECOND = Gauge(
    "tocsin_replica_tokens_per_second", "Tokens generated a second, over the last five.", ["model", "replica"]
)

# Every HTTP server.
HTTP_CUT = Counter(
    "tocsin_http_cut_total", "Connections that were cut or refused before a request was served.", ["reason"]
)

# Callers, at gateways and consoles.
AUTH_REFUSED = Counter("tocsin_auth_refused_total", "Callers that were not let in, by why.", ["reason"])
AUTH_SLOWED = Counter("tocsin_auth_slowed_total", "Guesses that were told to wait, by address or key.")
AUTH_USES_UNTOLD = Counter(
    "tocsin_auth_uses_untold_total", "Last uses of keys that Kafka did not take; a later use tells more."
)
AUTH_ISSUER_READS = Counter(
    "tocsin_auth_issuer_reads_total", "Readings of the identity provider's keys: read, failed.", ["outcome"]
)

# Gateway.
GATEWAY_REQUESTS = Counter("tocsin_gateway_requests_total", "HTTP requests answered.", ["route", "status"])
GATEWAY_SECONDS = Histogram(
    "tocsin_gateway_seconds",
    "From an HTTP request's first byte to its answer's last.",
    ["route"],
    buckets=_SECONDS,
)
GATEWAY_TTFT_SECONDS = Histogram(
    "tocsin_gateway_ttft_seconds",
    "From an HTTP request to the first generated text.",
    ["model"],
    buckets=_SECONDS,
)
GATEWAY_INTER_TOKEN_SECONDS = Histogram(
    "tocsin_gateway_inter_token_seconds",
    "Mean time between two tokens of an answer, as its replica generated them.",
    ["model"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1),
)
GATEWAY_QUEUE_SECONDS = Histogram(
    "tocsin_gateway_queue_seconds",
    "From a client's request to a replica that takes it.",
    ["model"],
    buckets=_SECONDS,
)
GATEWAY_ATTEMPTS = Counter("tocsin_gateway_attempts_total", "Further attempts published, by why.", ["reason"])
GATEWAY_IGNORED = Counter(
    "tocsin_gateway_replies_ignored_total", "Replies that changed nothing, by why.", ["reason"]
)
GATEWAY_CANCELS = Counter("tocsin_gateway_cancels_total", "Requests taken back, by why.", ["reason"])
GATEWAY_REATTACHED = Counter("tocsin_gateway_reattached_total", "Clients that came back to a stream.")
GATEWAY_IDEMPOTENT = Counter(
    "tocsin_gateway_idempotent_total", "Calls with an idempotency key, by what came of them.", ["result"]
)
GATEWAY_IDEMPOTENCY_FORGOTTEN = Counter(
    "tocsin_gateway_idempotency_forgotten_total",
    "Idempotency keys forgotten within their day, for want of room.",
)
GATEWAY_UNSENT = Counter(
    "tocsin_gateway_unsent_total", "Records that Kafka did not take in the end.", ["topic"]
)
GATEWAY_ACCEPTED_LATE = Counter(
    "tocsin_gateway_accepted_late_total",
    "Requests that a broker dated later than it could by what is known of its clock; they are refused.",
)
GATEWAY_FORGOTTEN_EARLY = Counter(
    "tocsin_gateway_forgotten_early_total", "Ended requests forgotten before their time, for want of memory."
)
GATEWAY_ENDS = Counter("tocsin_gateway_ends_total", "Requests that the gateway ended itself.", ["outcome"])
INSPECTIONS = Counter(
    "tocsin_inspections_total",
    "Prompts inspected before they were served, by risk and by how deep: rules, model, none (not read).",
    ["level", "depth"],
)
INSPECTION_SECONDS = Histogram(
    "tocsin_inspection_seconds",
    "What inspection added to a call, by the deepest that it went.",
    ["depth"],
    buckets=(0.00025, 0.0005, *_SECONDS[:10]),
)
INSPECTION_MISSED = Counter(
    "tocsin_inspection_missed_total",
    "Looks at a prompt that were wanted and not had: timeout, busy, no_cpu, full, away, off or lost (a "
    "worker), unread (no rules either), refused (the call, as its tenant's policy blocks).",
    ["why"],
)
INSPECTION_QUEUED = Gauge("tocsin_inspection_queued", "Jobs that wait for an inspection worker.")
INSPECTION_WORKERS = Gauge("tocsin_inspection_workers", "Inspection workers that are ready.")
INSPECTION_WORKERS_LOST = Counter(
    "tocsin_inspection_workers_lost_total", "Inspection workers that died or hung and were replaced."
)
MASKING_SECONDS = Histogram(
    "tocsin_masking_seconds",
    "Time of looking through one request's texts for personal data and secrets, with waiting.",
    buckets=(0.00025, 0.0005, *_SECONDS[:10]),
)
MASKING_MISSED = Counter(
    "tocsin_masking_missed_total",
    "Texts that could not be looked through: full, busy, timeout, lost (the process), or that were too_large "
    "to be recorded. They are never recorded or passed on as they are instead.",
    ["why"],
)
MASKED_PROMPTS = Counter(
    "tocsin_masked_prompts_total",
    "Prompts looked through before they were served: masked, clean, blocked (a secret), refused (no time).",
    ["result"],
)
ANSWERS_HIDDEN = Counter(
    "tocsin_answers_hidden_total",
    "What answers gave away and clients did not get, masked or cut: secret, system_prompt, personal. What "
    "answers gave away at all, security_threats_total counts.",
    ["kind"],
)
ANSWERS_CUT = Counter("tocsin_answers_cut_total", "Answers that were ended for what they gave away.")
ANSWERS_UNSEALED = Counter(
    "tocsin_answers_unsealed_total",
    "Answers whose placeholders could not be given their values: the gateways' peppers differ.",
)
GATEWAY_BUS_AWAY = Gauge("tocsin_gateway_bus_away", "1 while Kafka does not answer.")

# Limits and budgets. `subject` is whose: key, user, tenant or model.
LIMITS_REFUSED = Counter(
    "tocsin_limits_refused_total",
    "Requests refused for a limit, by whose and which: requests, tokens, streams, share, queue, risk.",
    ["subject", "limit"],
)
LIMITS_RESERVED_TOKENS = Gauge(
    "tocsin_limits_reserved_tokens", "Tokens that requests under way have reserved and not settled yet."
)
LIMITS_SHARES = Gauge("tocsin_limits_shares", "Gateways whose share of the limits is known, this one's too.")
LIMITS_UNTOLD = Counter(
    "tocsin_limits_untold_total",
    "Reports of this gateway's use that the bus did not take; a later one tells the same.",
)
LIMITS_FORGOTTEN = Counter(
    "tocsin_limits_forgotten_total", "Limits whose use was forgotten before its time, for want of memory."
)
LIMITS_PASSED_OVER = Counter(
    "tocsin_limits_passed_over_total",
    "Times that a limit or budget was not shared for want of room, so that it may not hold over several "
    "gateways: on the bus (`peers`), or in the store that shares limits (`store`).",
    ["dependency"],
)
LIMITS_RISKS_FORGOTTEN = Counter(
    "tocsin_limits_risks_forgotten_total",
    "Users whose findings were forgotten, those assessed longest ago, for want of room: they are not limited "
    "for them.",
)
LIMITS_STORE_AWAY = Gauge(
    "tocsin_limits_store_away", "1 while the store that shares limits (TOCSIN_LIMITS_URL) does not answer."
)
LIMITS_STORE_SKIPPED = Counter(
    "tocsin_limits_store_skipped_total",
    "Requests that were judged without that store, by what gateways tell each other, as it did not answer.",
)
BUDGETS_REFUSED = Counter(
    "tocsin_budgets_refused_total",
    "Requests that were refused for a hard budget, by whose and its period: day, month.",
    ["subject", "period"],
)
BUDGETS_WARNED = Counter(
    "tocsin_budgets_warned_total",
    "Warnings that a budget's share was spent, by whose and its period.",
    ["subject", "period"],
)
BUDGETS_UNREAD = Gauge("tocsin_budgets_unread", "Budgets of which is not known yet what was spent.")
BUDGETS_RESERVED_USD = Gauge(
    "tocsin_budgets_reserved_usd", "Dollars that requests under way have reserved and not settled yet."
)

# Control state.
CONTROL_ENTRIES = Gauge("tocsin_control_entries", "Entries known, deleted ones included.", ["kind"])

# Console.
CONSOLE_REQUESTS = Counter("tocsin_console_requests_total", "HTTP requests answered.", ["route", "status"])
CONSOLE_SECONDS = Histogram(
    "tocsin_console_seconds",
    "From an HTTP request's first byte to its answer's last.",
    ["route"],
    buckets=_SECONDS,
)
CONSOLE_READS = Counter(
    "tocsin_console_reads_total", "Look-ups for /api/status, by how they went.", ["part", "state"]
)
CONSOLE_ANALYSES = Counter(
    "tocsin_console_analyses_total",
    "Prompts that were to be analysed: analysed, tenant_full, full, busy, timeout or lost (the process).",
    ["result"],
)
CONSOLE_LOGINS = Counter(
    "tocsin_console_logins_total", "Attempts at opening a session, by outcome.", ["outcome"]
)

# Recorder.
RECORDER_ROWS = Counter(
    "tocsin_recorder_rows_total",
    "Rows that the store took; a block that is sent again counts again.",
    ["table"],
)
RECORDER_INVALID = Counter("tocsin_recorder_invalid_total", "Events that cannot become rows.", ["topic"])
RECORDER_INSERT_SECONDS = Histogram(
    "tocsin_recorder_insert_seconds", "Time of one insert.", ["table"], buckets=_SECONDS
)

# Consumers of events (services/common/bus/subscriber).
CONSUMER_EVENTS = Counter(
    "tocsin_consumer_events_total",
    "Events by what became of them: handled, repeated, skipped, set_aside.",
    ["group", "topic", "outcome"],
)
CONSUMER_SECONDS = Histogram(
    "tocsin_consumer_seconds", "Time of one call of a handler.", ["group", "topic"], buckets=_SECONDS
)
CONSUMER_LAG = Gauge("tocsin_consumer_lag", "Offsets that are not dealt with yet.", ["group", "topic"])
CONSUMER_AGE_SECONDS = Gauge(
    "tocsin_consumer_age_seconds",
    "Age of the oldest event of the batch under way; 0 where there is none.",
    ["group", "topic"],
)
CONSUMER_COMMIT_FAILURES = Counter(
    "tocsin_consumer_commit_failures_total",
    "Commits that the broker did not take; they are tried again.",
    ["group", "topic"],
)
CONSUMER_WAITING = Gauge(
    "tocsin_consumer_waiting", "1 while the store or Kafka is waited for.", ["group", "dependency"]
)

# Audit.
AUDIT_ROWS = Counter("tocsin_audit_rows_total", "Entries that were chained.")
AUDIT_UNWRITTEN = Counter(
    "tocsin_audit_entries_unwritten_total",
    "Audit entries that were not written: unconfirmed (what was asked for was not given), queue_full, closed "
    "or refused.",
    ["why"],
)
AUDIT_ANCHORS = Counter("tocsin_audit_anchors_total", "Anchors of the audit's chains that were published.")
AUDIT_ANCHORS_REFUSED = Counter(
    "tocsin_audit_anchors_refused_total",
    "Anchors that were not published because the chain is not the one that was anchored before.",
)

# Security, the analyzer's role. `category` is one of a fixed list or `other`.
SECURITY_THREATS = Counter(
    "security_threats_total",
    "Findings of the security role in what requests say and how users behave.",
    ["category", "level"],
)
SECURITY_INSPECTED = Counter(
    "tocsin_security_inspected_total",
    "Ended requests by what was looked at: text, or behaviour alone where no text was kept.",
    ["kind"],
)
SECURITY_INSPECTION_SECONDS = Histogram(
    "tocsin_security_inspection_seconds", "Time of looking at one request's texts.", buckets=_SECONDS
)
SECURITY_VERDICTS_KNOWN = Counter(
    "tocsin_security_verdicts_known_total", "Texts that were judged lately and not judged again."
)
SECURITY_SUBJECTS = Gauge(
    "tocsin_security_subjects", "Users and keys whose behaviour is known.", ["partition"]
)
SECURITY_FORGOTTEN = Counter(
    "tocsin_security_forgotten_total", "Users and keys that were forgotten for want of room."
)
SECURITY_RISKS = Counter("tocsin_security_risks_total", "Users' risks that were told or ended.", ["outcome"])
SECURITY_REPEATED = Counter(
    "tocsin_security_repeated_total", "Observations that came again and changed nothing."
)
SECURITY_REPLAYED = Counter(
    "tocsin_security_replayed_total", "Observations that were read again to know what was known before."
)

# The analyzer's forecast role.
FORECAST_BEHIND_SECONDS = Gauge(
    "tocsin_forecast_behind_seconds", "Age of the end of the last hour that forecasts are made from."
)
FORECAST_ROUND_SECONDS = Gauge("tocsin_forecast_round_seconds", "How long the last round took.")
FORECAST_SUBJECTS = Counter(
    "tocsin_forecast_subjects_total",
    "Subjects (the platform, tenants, models) of rounds: done, or left for want of time or by an error.",
    ["outcome"],
)
ANOMALIES_LASTING = Gauge("tocsin_anomalies_lasting", "Anomalies that are not over.", ["figure"])

# The analyzer's KPI role. `metric` and `figure` are of fixed lists.
KPI = Gauge(
    "tocsin_kpi",
    "Figures of the last five minutes, by model; those of docs/concepts/analytics/kpi.md.",
    ["figure", "model"],
)
KPI_SCORE = Gauge("tocsin_model_performance_score", "The same as model_performance_score.", ["model"])
KPI_WINDOWS = Counter("tocsin_kpi_windows_total", "Windows that were judged.")
KPI_BREACHES = Counter(
    "tocsin_kpi_breaches_total", "Breaches that were told: breached, recovered.", ["metric", "state"]
)
KPI_BREACHES_OPEN = Gauge("tocsin_kpi_breaches_open", "Breaches that have not ended.", ["metric"])
KPI_BREACHES_PASSED_OVER = Counter(
    "tocsin_kpi_breaches_passed_over_total", "Breaches that were not told, as 500 are open."
)
KPI_LATE = Counter(
    "tocsin_kpi_late_total", "Requests that were recorded more than ten seconds after they had ended."
)
KPI_BEHIND_SECONDS = Gauge("tocsin_kpi_behind_seconds", "Age of the end of the last window that was judged.")
KPI_PASSED_OVER_SECONDS = Counter(
    "tocsin_kpi_passed_over_seconds_total", "Time whose windows were never judged: nobody did for an hour."
)

# Recommendations.
RECOMMENDATIONS = Counter(
    "tocsin_recommendations_total", "Recommendations that were told, by what became of them.", ("change",)
)
RECOMMENDATIONS_PASSED_OVER = Counter(
    "tocsin_recommendations_passed_over_total",
    "Recommendations that were not told: 500 were new, or 50 of the tenant.",
)
RECOMMENDATION_RULES_FAILED = Counter(
    "tocsin_recommendation_rules_failed_total", "Rules whose evidence was not to be had or used.", ("rule",)
)
RECOMMENDATION_RULES_CUT = Counter(
    "tocsin_recommendation_rules_cut_total",
    "Rules with more evidence than is read (1000 rows): nothing of them lapses.",
    ("rule",),
)

# Privacy.
ERASED = Counter(
    "tocsin_erased_total",
    "Rows and entries of persons that were erased, by table or kind of entry.",
    ["table"],
)
ERASURES_WAITING = Counter(
    "tocsin_erasures_waiting_total", "Times that an erasure could not go on and was put off."
)
RETENTION_BLANKED = Counter(
    "tocsin_retention_blanked_total",
    "Rows whose texts were removed as a tenant's retention was over.",
    ["table"],
)

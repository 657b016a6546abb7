"""Every metric of Tocsin, in one file: names, units and labels are a contract with dashboards and alerts."""

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

# Inference, dispatcher side.
DISPATCH_WAITING = Gauge("tocsin_dispatch_waiting", "Requests that wait for a slot.", ["model", "lane"])
DISPATCH_SLOTS = Gauge("tocsin_dispatch_slots", "Slots of the live replicas.", ["model"])
DISPATCH_RUNNING = Gauge("tocsin_dispatch_running", "Requests that replicas hold.", ["model"])
DISPATCH_ENDS = Counter("tocsin_dispatch_ends_total", "Requests ended, each once.", ["model", "outcome"])
DISPATCH_RETRIES = Counter("tocsin_dispatch_retries_total", "Retries asked for because a replica died.", ["model"])
DISPATCH_TAKEOVERS = Counter("tocsin_dispatch_takeovers_total", "Times a dispatcher became the active one.", ["model"])
DISPATCH_TRANSACTION_SECONDS = Histogram("tocsin_dispatch_transaction_seconds", "Time to commit a batch of ends.", ["model"], buckets=_SECONDS)

# Inference, replica side.
REPLICA_TOKENS = Counter("tocsin_replica_tokens_total", "Tokens generated.", ["model"])
REPLICA_RUNNING = Gauge("tocsin_replica_running", "Requests being generated.", ["model"])
REPLICA_TTFT_SECONDS = Histogram("tocsin_replica_ttft_seconds", "From taking a request to its first token.", ["model"], buckets=_SECONDS)
REPLICA_REFUSED = Counter("tocsin_replica_refused_total", "Work that was ignored, by why.", ["model", "reason"])

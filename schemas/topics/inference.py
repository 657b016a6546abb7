"""The topics of a request's life: gateways, dispatchers, replicas."""

import functools
import hashlib
import re

from pydantic import TypeAdapter

from schemas.inference import (
    REPLY,
    STATUS,
    WORK,
    CancelRequested,
    InferenceCompleted,
    InferenceRequested,
    Lane,
)
from schemas.topics.topic import HOUR, QUARTER_HOUR, WEEK, Topic

_LEGAL = re.compile(r"[a-z0-9._-]{1,80}")

REQUESTS = Topic(
    "inference.requests.{model}.{lane}.v1",
    TypeAdapter(InferenceRequested),
    "request_id",
    1,
    HOUR,
    ("gateway",),
    ("dispatcher",),
    "Requests for one model in one lane. One partition: a total order, so that a queue position is exact.",
)
WORK_TOPIC = Topic(
    "inference.work.v1",
    WORK,
    "replica_id",
    64,
    QUARTER_HOUR,
    ("dispatcher",),
    ("replica",),
    "Replicas' inboxes: each replica reads the one partition that its id hashes to.",
    scaled=True,
)
REPLIES = Topic(
    "inference.replies.v1",
    REPLY,
    "request_id",
    64,
    QUARTER_HOUR,
    ("replica", "dispatcher", "gateway"),
    ("gateway",),
    "Gateways' inboxes: generated text on its way to the client.",
    scaled=True,
)
COMMANDS = Topic(
    "inference.commands.v1",
    TypeAdapter(CancelRequested),
    "request_id",
    1,
    QUARTER_HOUR,
    ("gateway",),
    ("dispatcher",),
    "What clients and gateways take back.",
)
STATUS_TOPIC = Topic(
    "inference.status.v1",
    STATUS,
    "replica_id",
    1,
    QUARTER_HOUR,
    ("replica", "dispatcher"),
    ("dispatcher", "gateway", "inference"),
    "Heartbeats, finished attempts and queue lengths.",
)
COMPLETED = Topic(
    "inference.completed.v1",
    TypeAdapter(InferenceCompleted),
    "request_id",
    12,
    WEEK,
    ("dispatcher", "gateway"),
    ("recorder", "gateway", "security"),
    "The one end of each request.",
    scaled=True,
    ledger=True,
    dead_letters=True,
)


def model_slug(model: str) -> str:
    """A model's name as a part of a topic's name: itself where legal, else with a
    digest in place of what Kafka does not allow.
    """
    if _LEGAL.fullmatch(model) and "." not in model[:1]:
        return model
    digest = hashlib.sha256(model.encode()).hexdigest()[:8]
    return f"{re.sub(r'[^a-z0-9_-]+', '-', model.lower())[:60].strip('-')}-{digest}"


@functools.lru_cache(maxsize=256)
def requests_topic(model: str, lane: Lane) -> str:
    """The topic of a model's lane."""
    return REQUESTS.name.format(model=model_slug(model), lane=lane.value)


def inbox_partition(owner_id: str, partitions: int) -> int:
    """The inbox partition that a gateway or a replica reads, by a hash of its id."""
    return int.from_bytes(hashlib.blake2s(owner_id.encode(), digest_size=8).digest(), "big") % partitions

"""Limits and timeouts of dispatching."""

from dataclasses import dataclass

from services.common.requests.pricing import PriceAt


@dataclass(frozen=True, slots=True)
class ReadAhead:
    """How much of a lane is held in memory; what lies behind waits in the log, known
    only by its id, tenant and deadline.

    `per_tenant` and `per_lane` count waiting requests, `lane_bytes` their records;
    `deferred_bytes` bounds what is known of those behind, in memory. Where that is used
    up the lane is read no further: what comes then waits in the log, unread.
    """

    per_tenant: int = 128
    per_lane: int = 1000
    lane_bytes: int = 32 * 1024 * 1024
    deferred_bytes: int = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DispatchRules:
    """Bounds and times of one model's dispatching; times in seconds.

    `takeover_silence_s` and `reconnect_s` are how long replicas may take to be heard of
    after a takeover, and after the bus was away: they reconnect at their own pace.
    `max_faults` bounds how often a request may fail its engine, `max_kills` how often
    it may be the one that its replica died of, up to three more where something else
    disturbed the replicas within `disturbance_s`; an attempt that has generated for
    `cleared_after_s` is no suspect. `max_attempts` bounds all attempts, for any reason.
    """

    model: str
    price_at: PriceAt
    max_attempts: int = 32
    max_faults: int = 5
    max_kills: int = 2
    cleared_after_s: float = 0.5
    disturbance_s: float = 60.0
    replica_silence_s: float = 1.0
    takeover_listen_s: float = 0.6
    takeover_silence_s: float = 3.0
    reconnect_s: float = 2.0
    lost_work_s: float = 2.0
    retry_answer_s: float = 10.0
    overdue_s: float = 5.0
    beat_s: float = 0.25
    read_ahead: ReadAhead = ReadAhead()

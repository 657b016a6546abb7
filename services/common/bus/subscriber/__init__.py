"""Consumers of events on FastStream: batches, a commit after the effect, dead letters.

    subscriber = Subscriber(url, "audit-1", dead_letters=..., health=...)
    subscriber.add(Subscription(AUDIT, on_audit_entries, group="audit"))

A handler is given `Event`s of one topic, those of a partition in its order, and returns
when they have had their effect. It may be given an event again: after a crash between
the effect and the commit, or when a partition moves. So its effect must be one that can
be repeated (a token, an upsert by the event's id or by its place in the log); what this
process itself did lately it also remembers by (source, event id).

| the handler | what becomes of the events |
|-|-|
| returns | committed |
| raises BusUnavailableError, StoreUnavailableError | given again for as long as it takes; /ready says why |
| raises PermanentError | found out one by one, and set aside in <topic>.dlq |
| raises anything else | tried `attempts` times, then the same |

What cannot be read is set aside at once; a kind that this version does not know is
passed over and counted. When most events are set aside, `run` ends with
TooManyInvalidError, and they stay where they are.
"""

from services.common.bus.subscriber.delivery import Attempts, Event, Handler
from services.common.bus.subscriber.subscriber import Subscriber
from services.common.bus.subscriber.subscription import Subscription

__all__ = ["Attempts", "Event", "Handler", "Subscriber", "Subscription"]

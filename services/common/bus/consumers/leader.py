"""A group in which one member holds everything and the others stand by.

Kafka's own assignors spread partitions over the members, and move them when one joins.
Here all partitions stay with the member that holds them; when it leaves, the one with
the lowest id takes over.
"""

from collections.abc import Callable, Iterable, Mapping

from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

_HOLDS, _STANDS_BY = b"holds", b"stands-by"


class LeaderAssignor(AbstractPartitionAssignor):  # type: ignore[misc]
    """Gives all partitions to one member. `holds` says whether this one has them now."""

    name = "tocsin-leader"
    version = 0

    def __init__(self, holds: Callable[[], bool]) -> None:
        self._holds = holds

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """What this member tells the one that assigns."""
        return ConsumerProtocolMemberMetadata(
            self.version, list(topics), _HOLDS if self._holds() else _STANDS_BY
        )

    def assign(
        self, cluster: ClusterMetadata, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Everything to the holder, or to the lowest member id where none holds."""
        leader = min(members, key=lambda member: (members[member].user_data != _HOLDS, member))
        topics = sorted({topic for metadata in members.values() for topic in metadata.subscription})
        everything = [(topic, sorted(cluster.partitions_for_topic(topic) or ())) for topic in topics]
        return {
            member: ConsumerProtocolMemberAssignment(
                self.version, everything if member == leader else [], b""
            )
            for member in members
        }

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Nothing to learn: the consumer's listener is told."""

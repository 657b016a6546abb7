"""How many queries run and wait."""

import asyncio

import pytest

from services.embedded.clickhouse.engine.admission import Admission, AdmissionLimits
from services.embedded.clickhouse.errors import StoreError
from services.embedded.clickhouse.users import Role


async def _hold(admission: Admission, role: Role, entered: asyncio.Event, leave: asyncio.Event) -> None:
    async with admission.slot(role):
        entered.set()
        await leave.wait()


async def test_slot_beyond_the_waiting_room_is_refused_at_once() -> None:
    """Too many simultaneous queries: code 202, HTTP 503."""
    admission = Admission(AdmissionLimits(running=1, analysts_running=1, waiting=1, wait_s=30))
    leave, first, second = asyncio.Event(), asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(_hold(admission, Role.ADMIN, first, leave))
        await first.wait()
        waiting = group.create_task(_hold(admission, Role.ADMIN, second, leave))
        await asyncio.sleep(0)
        with pytest.raises(StoreError) as refusal:
            await _hold(admission, Role.ADMIN, asyncio.Event(), leave)
        assert (refusal.value.code, refusal.value.status) == (202, 503)
        leave.set()
        await waiting
        assert second.is_set()


async def test_slot_that_is_not_free_in_time_is_refused() -> None:
    """Waiting ends; the slot that was waited for is not lost."""
    admission = Admission(AdmissionLimits(running=1, analysts_running=1, waiting=5, wait_s=0.01))
    leave, entered = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(_hold(admission, Role.ADMIN, entered, leave))
        await entered.wait()
        with pytest.raises(StoreError, match="waited"):
            await _hold(admission, Role.ADMIN, asyncio.Event(), leave)
        leave.set()
    async with admission.slot(Role.ADMIN):
        pass


@pytest.mark.parametrize(("crowd", "other"), [(Role.ANALYST, Role.GATEWAY), (Role.GATEWAY, Role.ANALYST)])
async def test_slots_and_waiting_of_one_role_are_not_anothers(crowd: Role, other: Role) -> None:
    """A crowd of slow analysts, running and waiting, keeps no gateway from reading what
    was spent, nor the reverse.
    """
    limits = AdmissionLimits(running=3, analysts_running=1, gateways_running=1, waiting=1, wait_s=30)
    admission = Admission(limits)
    leave, running, waited = asyncio.Event(), asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(_hold(admission, crowd, running, leave))
        await running.wait()
        group.create_task(_hold(admission, crowd, waited, leave))
        await asyncio.sleep(0)
        with pytest.raises(StoreError, match="1 are waiting"):
            await _hold(admission, crowd, asyncio.Event(), leave)
        async with admission.slot(other), admission.slot(Role.SERVICE):
            pass
        leave.set()


async def test_slots_of_analysts_leave_room_for_the_services() -> None:
    """However many analysts ask, a service finds a slot."""
    admission = Admission(AdmissionLimits(running=2, analysts_running=1, waiting=5, wait_s=0.01))
    leave, entered = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(_hold(admission, Role.ANALYST, entered, leave))
        await entered.wait()
        with pytest.raises(StoreError):
            await _hold(admission, Role.ANALYST, asyncio.Event(), leave)
        async with admission.slot(Role.SERVICE):
            pass
        leave.set()

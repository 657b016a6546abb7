"""Erasure and retention with the rights that the console has."""

import json
from pathlib import Path

from services.common.clock import utc_now
from services.common.control.state import ControlState
from services.common.store import Store
from services.common.store.migrations import migrate
from services.console.privacy.stored.export import SubjectExport
from services.console.privacy.stored.rows import Rows, Work
from services.console.privacy.stored.special_tables import special_steps
from services.console.privacy.stored.tables import PERSONAL
from services.console.privacy.subject import subject_of
from tests.integration.console.privacy.conftest import PSEUDONYM_KEY
from tests.support.store import running_store


async def test_every_statement_is_allowed_to_the_embedded_stores_service(tmp_path: Path) -> None:
    """Not only to its administrator, as other tests come in."""
    with running_store(tmp_path) as store:
        migrate(store.url("admin"))
        reached = Store(store.url("service"))
        rows = Rows(reached)
        subject = subject_of(PSEUDONYM_KEY, ControlState(), "acme", "jo").with_keys(["k1"])
        work = Work("e/1", subject, utc_now())
        for user in subject.pseudonyms:
            await reached.command(
                "INSERT INTO inference_events (tenant, user, requested_at, completed_at, prompt_text) VALUES "
                f"('acme', '{user}', toStartOfHour(now()) - 9, toStartOfHour(now()) - 8, 'x')"
            )
        export = SubjectExport(reached)
        assert b'"prompt_text":"x"' in b"".join(
            [one async for one in export.pieces(ControlState(), subject, "now")]
        )
        await _pages_of_any_size_tell_each_row_once(reached)
        async with rows.about(work):
            found = {one.place: (await rows.erase(one, work)).erased for one in PERSONAL}
            for place, step in special_steps(rows).items():
                found[place] = (await step.erase(work)).erased
        assert {place: count for place, count in found.items() if count} == {
            "requests": 2,
            "counts of users": 3,
        }
        await reached.close()


async def _pages_of_any_size_tell_each_row_once(store: Store) -> None:
    """Whatever the rows' sizes are, in each table that is exported."""
    subject = subject_of(PSEUDONYM_KEY, ControlState(), "acme", "many")
    await store.command(
        "INSERT INTO inference_events (tenant, user, request_id, offset, requested_at, completed_at, "
        f"prompt_text) SELECT 'acme', '{subject.pseudonyms[0]}', toString(number), number, now(), now(), "
        "repeat('x', if(number % 7 = 0, 3000, 10)) FROM numbers(40)"
    )
    for ahead, page_bytes in ((5000, 10**6), (7, 10**6), (40, 1), (13, 4000)):
        export = SubjectExport(store, ahead=ahead, page_bytes=page_bytes)
        told = json.loads(b"".join([one async for one in export.pieces(ControlState(), subject, "now")]))
        assert [one["request_id"] for one in told["requests"]] == [str(number) for number in range(40)]

"""kill -9 of each service in the middle of an erasure, on a really started Tocsin: it ends
complete, counts what an undisturbed one counts, and touches nobody else.
"""

import asyncio
import json
import os
import secrets
import time
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.chaos.test_kill import kill, until_all_serve
from tests.support.installation import Installation

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]
_TENANT = "erased-midway"
_ASKED = 3
_COMPARED = ("control state", "feedback", "requests", "dead letters", "audit")
"""Places whose counts follow from what a person did alone: findings come when they come."""
ROLES = [
    ("analyzer", None),
    ("store", None),
    ("gateway", None),
    ("dispatcher", "active"),
    ("console", None),
    ("kafka", None),
    ("replica", None),
    ("inference", None),
]
"""The first two always, all with TOCSIN_CHAOS_LONG=1."""


@dataclass(frozen=True)
class Person:
    """Somebody with a key, who asked something."""

    name: str
    key_id: str
    key: str
    word: str


def _command(tocsin: Installation, *arguments: str) -> dict[str, Any]:
    done = tocsin.command(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _rows(tocsin: Installation, key_id: str) -> list[dict[str, Any]]:
    return tocsin.query(
        f"SELECT * FROM tocsin.inference_events WHERE key_id = '{key_id}' ORDER BY request_id"
    )


async def _person(tocsin: Installation, name: str) -> Person:
    """Entered, with a key, three answered requests and a rating, all of it recorded."""
    name = f"{name}-{secrets.token_hex(4)}"
    await asyncio.to_thread(_command, tocsin, "users", "create", name, "--tenant", _TENANT)
    of = ("--name", "n", "--tenant", _TENANT, "--user", name, "--scope", "infer", "--scope", "feedback")
    made = await asyncio.to_thread(_command, tocsin, "keys", "create", *of)
    person = Person(name, made["key_id"], made["key"], f"word{secrets.token_hex(6)}")
    headers = {"authorization": f"Bearer {person.key}"}
    async with httpx.AsyncClient(base_url=tocsin.base_url, headers=headers, timeout=60) as client:
        for _ in range(_ASKED):
            messages = [{"role": "user", "content": f"Tell me of {person.word}"}]
            body = {"model": "scripted", "messages": messages, "max_tokens": 3}
            answer = await client.post("/chat/completions", json=body)
            assert answer.status_code == 200, answer.text
        rating = {"request_id": answer.headers["x-request-id"], "rating": -1, "comment": person.word}
        rated = await client.post("/feedback", json=rating)
        assert rated.status_code in (200, 201, 202), rated.text

    def recorded() -> bool:
        rated = tocsin.query(f"SELECT count() AS n FROM tocsin.feedback WHERE key_id = '{person.key_id}'")
        return len(_rows(tocsin, person.key_id)) == _ASKED and int(rated[0]["n"]) == 1

    for _ in range(600):
        if await asyncio.to_thread(recorded):
            return person
        await asyncio.sleep(0.1)
    raise AssertionError(f"not all of {name} was recorded")


async def _told(tocsin: Installation, method: str, path: str, **parameters: str) -> dict[str, Any]:
    """The console's answer, however long it takes: what is killed may be in between."""
    url = tocsin.base_url.removesuffix("/v1") + f"/api/privacy/{path}"
    end_s = time.monotonic() + 120
    said: object = None
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {tocsin.key}"}, timeout=10) as client:
        while time.monotonic() < end_s:
            try:
                answer = await client.request(method, url, params=parameters)
            except httpx.TransportError as error:
                said = error
            else:
                if answer.status_code in (200, 202):
                    found: dict[str, Any] = answer.json()
                    return found
                said = answer.text
            await asyncio.sleep(0.05)
    raise AssertionError(said)


async def _erased(tocsin: Installation, person: Person, role: str, state: str | None) -> dict[str, Any]:
    """The receipt of a person's erasure, in whose middle a process is killed."""
    asked = {"confirm": person.name, "tenant": _TENANT}
    begun = await _told(tocsin, "DELETE", f"subjects/{person.name}", **asked)
    path, killed, end_s = f"receipts/{begun['id']}", not role, time.monotonic() + 240
    while time.monotonic() < end_s:
        receipt = await _told(tocsin, "GET", path)
        if not killed and len(receipt["stores"]) >= 2:
            assert not receipt["rounds"], "it is in the middle"
            kill(await asyncio.to_thread(tocsin.status), role, state)
            killed = True
        if receipt["rounds"]:
            assert killed, "it was over before anything was killed"
            return receipt
        await asyncio.sleep(0.05)
    raise AssertionError(f"{receipt}; {tocsin.log()}")


def _counts(receipt: dict[str, Any]) -> dict[str, tuple[int, int, int]]:
    found = {one["place"]: (one["found"], one["erased"], one["left"]) for one in receipt["stores"]}
    return {place: found[place] for place in _COMPARED}


@pytest.fixture(scope="module")
def undisturbed(tocsin: Installation) -> dict[str, tuple[int, int, int]]:
    """What an erasure counts when nothing dies."""

    async def erase() -> dict[str, tuple[int, int, int]]:
        await until_all_serve(tocsin)
        await asyncio.to_thread(_command, tocsin, "tenants", "create", _TENANT)
        return _counts(await _erased(tocsin, await _person(tocsin, "jo"), "", None))

    found = asyncio.run(erase())
    assert found["requests"] == (_ASKED, _ASKED, 0)
    assert found["feedback"] == (1, 1, 0)
    assert found["control state"] == (2, 2, 0)
    return found


@pytest.mark.parametrize(("role", "state"), ROLES if os.environ.get("TOCSIN_CHAOS_LONG") else ROLES[:2])
async def test_erasure_whose_process_is_killed_midway_ends_as_an_undisturbed_one(
    tocsin: Installation, undisturbed: dict[str, tuple[int, int, int]], role: str, state: str | None
) -> None:
    """Whichever dies: the same counts, nothing left, a colleague's rows as they were."""
    await until_all_serve(tocsin)
    jo, kim = await _person(tocsin, "jo"), await _person(tocsin, "kim")
    before = await asyncio.to_thread(_rows, tocsin, kim.key_id)
    receipt = await _erased(tocsin, jo, role, state)
    assert _counts(receipt) == undisturbed
    assert [
        one for one in receipt["stores"] if one["failed"] or (one["place"] == "findings" and one["left"])
    ] == []
    assert receipt["state"] == "erased"
    assert await asyncio.to_thread(_rows, tocsin, kim.key_id) == before
    assert await asyncio.to_thread(_rows, tocsin, jo.key_id) == []
    left = tocsin.query(
        f"SELECT count() AS n FROM tocsin.inference_events WHERE position(prompt_text, '{jo.word}') > 0"
    )
    assert int(left[0]["n"]) == 0
    assert len([one for one in before if kim.word in str(one["prompt_text"])]) == _ASKED

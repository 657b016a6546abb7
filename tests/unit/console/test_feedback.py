"""Whose a rating is."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from services.common.bus import Outgoing
from services.common.control.principal import Principal
from services.common.identity import pseudonym, pseudonym_of_named
from services.common.requests.feedback import FeedbackBody
from services.common.requests.masking.recording import TextRecording
from services.console.feedback.request_lookup import RatedRequest
from services.console.feedback.service import FeedbackService

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
KEY = "a pseudonym key for tests"
JO, ANN = (pseudonym(KEY, tenant="acme", user=one) for one in ("jo", "ann"))
NAMED_ANN = pseudonym_of_named(KEY, tenant="acme", user="ann")


@pytest.mark.parametrize(
    ("owner", "named", "rated_by"),
    [("jo", "ann", JO), ("jo", None, JO), ("ann", "ann", ANN), ("", "ann", NAMED_ANN), ("", None, "")],
)
async def test_rating_is_the_keys_owners_whomever_the_body_names(
    owner: str, named: str | None, rated_by: str
) -> None:
    """Of a request's ratings the last of each user counts: nobody may replace another's."""
    sent: list[Outgoing] = []

    async def find(_request_id: str, tenant: str) -> RatedRequest:
        return RatedRequest(tenant, "m", NOW)

    async def send(record: Outgoing) -> None:
        sent.append(record)

    desk = FeedbackService(find, send, KEY, lambda: NOW)
    asking = Principal(tenant="acme", user=owner, key_id="key00001", name="n", scopes=())
    event = await desk.submit(asking, FeedbackBody(request_id="chatcmpl-1", rating=1, user=named))
    assert event.user == rated_by
    assert [one.value for one in sent] == [event]


async def test_remarks_are_told_without_what_is_personal_in_them() -> None:
    """The same value, the same placeholder, in both; nothing else of a rating changes."""

    async def find(_request_id: str, tenant: str) -> RatedRequest:
        return RatedRequest(tenant, "m", NOW)

    async def send(record: Outgoing) -> None:
        del record

    desk = FeedbackService(find, send, KEY, lambda: NOW)
    asking = Principal(tenant="acme", user="", key_id="key00001", name="n", scopes=())
    body = FeedbackBody(
        request_id="chatcmpl-1", rating=-1, comment="ask jo@corp.example", correction="It is jo@corp.example."
    )
    event = await desk.submit(asking, body)
    assert (event.comment, event.correction) == ("ask [EMAIL_1]", "It is [EMAIL_1].")
    silent = replace(desk, texts=TextRecording(lambda _tenant: "none"))
    event = await silent.submit(asking, body)
    assert (event.rating, event.comment, event.correction) == (-1, None, None)
    plain = await desk.submit(asking, FeedbackBody(request_id="chatcmpl-1", rating=1))
    assert (plain.comment, plain.correction) == (None, None)

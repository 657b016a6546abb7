"""The openai_compatible engine against an upstream that misbehaves in every way it must
survive.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from services.common.errors import ConfigError
from services.common.requests.model_catalogue import Continuation, ModelConfig
from services.inference.engines import create_engine
from services.inference.engines.base import (
    ContinuationError,
    Engine,
    EngineFailedError,
    GenerationRequest,
    InvalidRequestError,
    Piece,
    Sampling,
    Usage,
)
from tests.support.inference.upstream import Act, Upstream, refusal, said

USAGE = {"prompt_tokens": 11, "completion_tokens": 7}
HELLO = Act(said(["Hello", " world"], usage=USAGE))
BAD_GATEWAY = Act(status=502, headers={}, parts=(b"<html>bad gateway</html>",))


@pytest.fixture(autouse=True)
def _loopback_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOCSIN_EGRESS_ALLOWED", "127.0.0.0/8,::1")


@asynccontextmanager
async def engine_on(
    upstream: Upstream, *, continuation: Continuation = "none", **options: Any
) -> AsyncIterator[Engine]:
    """A started engine in front of the upstream, impatient so that tests are quick."""
    settings = {"base_url": upstream.url, "model": "their-name", "wait_max_s": 0.02, **options}
    engine = create_engine(
        ModelConfig(
            name="far",
            engine="openai_compatible",
            options=settings,
            context_length=100,
            continuation=continuation,
            default_max_tokens=50,
        )
    )
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


def asked(
    *, delivered: tuple[str, ...] = (), delivered_tokens: tuple[int, ...] = (), **sampling: Any
) -> GenerationRequest:
    """A chat request."""
    messages = ({"role": "user", "content": "Say hello"},)
    return GenerationRequest(
        "r",
        "chat",
        messages=messages,
        sampling=Sampling(**sampling),
        delivered=delivered,
        delivered_tokens=delivered_tokens,
    )


async def answer(engine: Engine, request: GenerationRequest) -> tuple[str, str | None, Usage | None]:
    """Text, finish reason and usage of one generation."""
    text, reason, usage = "", None, None
    async with asyncio.timeout(20):
        async for item in engine.generate(request):
            if isinstance(item, Usage):
                usage = item
            else:
                text, reason = text + item.text, item.finish_reason or reason
    return text, reason, usage


async def test_upstream_that_behaves_is_passed_on_with_its_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text, end and counts are the upstream's; it is asked for usage, under its own
    model name, with the key from the environment.
    """
    monkeypatch.setenv("FAR_KEY", "sk-far")
    async with Upstream(HELLO).running() as upstream, engine_on(upstream, api_key_env="FAR_KEY") as engine:
        assert await answer(engine, asked(seed=3)) == (
            "Hello world",
            "stop",
            Usage(prompt_tokens=11, completion_tokens=7),
        )
    (body,) = upstream.bodies
    assert body["model"] == "their-name"
    assert body["stream_options"] == {"include_usage": True}
    assert body["seed"] == 3
    assert body["max_tokens"] == 50
    assert upstream.authorizations == ["Bearer sk-far"]


async def test_upstream_whose_bytes_come_oddly_is_read_all_the_same() -> None:
    """Comments, CRLF, cuts inside characters and events that come together give the
    same text.
    """
    raw = b": wait\r\n\r\n" + b"".join(said(["Hé", "llo 👩‍🚀"], usage=USAGE)).replace(b"\n", b"\r\n")
    cut = tuple(raw[start : start + 7] for start in range(0, len(raw), 7))
    async with Upstream(Act(cut)).running() as upstream, engine_on(upstream) as engine:
        assert (await answer(engine, asked()))[0] == "Héllo 👩‍🚀"


@pytest.mark.parametrize(
    "first",
    [
        refusal(429, "slow down", **{"retry-after": "0"}),
        refusal(503, "overloaded", **{"retry-after-ms": "10"}),
        refusal(503, "overloaded", **{"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}),
        refusal(408, "too late"),
        refusal(409, "conflict"),
        refusal(425, "too early"),
        BAD_GATEWAY,
        Act(ending="abort"),
        Act(parts=(b": thinking\n\n",), ending="abort"),
        Act(parts=(b": thinking\n\n",)),
        Act(parts=(b'data: {"error": {"message": "overloaded"}}\n\n',)),
    ],
    ids=[
        "429",
        "503-ms",
        "503-date",
        "408",
        "409",
        "425",
        "502-html",
        "connection-cut",
        "cut-before-token",
        "closed-before-token",
        "error-before-token",
    ],
)
async def test_upstream_that_fails_before_the_first_token_is_asked_again(first: Act) -> None:
    """What may pass is tried again, and the client notices nothing."""
    async with Upstream(first, HELLO).running() as upstream, engine_on(upstream) as engine:
        assert (await answer(engine, asked()))[0] == "Hello world"
    assert len(upstream.bodies) == 2


async def test_upstream_that_never_recovers_is_given_up_on() -> None:
    """Attempts are bounded, and the last failure is told."""
    async with (
        Upstream(refusal(500, "broken")).running() as upstream,
        engine_on(upstream, attempts=3) as engine,
    ):
        with pytest.raises(EngineFailedError, match="500: broken"):
            await answer(engine, asked())
    assert len(upstream.bodies) == 3


async def test_upstream_that_asks_for_more_patience_than_there_is_gets_none() -> None:
    """A retry-after beyond the total timeout ends the attempts at once."""
    async with (
        Upstream(refusal(429, "later", **{"retry-after": "3600"}), HELLO).running() as upstream,
        engine_on(upstream, total_timeout_s=30) as engine,
    ):
        with pytest.raises(EngineFailedError, match="later"):
            await answer(engine, asked())
    assert len(upstream.bodies) == 1


async def test_upstream_that_cannot_be_reached_is_an_engine_failure() -> None:
    """Nobody listens there."""
    async with Upstream(HELLO).running() as upstream:
        pass
    async with engine_on(upstream, attempts=2) as engine:
        with pytest.raises(EngineFailedError, match="cannot be reached"):
            await answer(engine, asked())


async def test_upstream_that_refuses_the_request_tells_the_client_why() -> None:
    """A 400 is the client's to mend: its words and its param go through, and it is
    asked once only.
    """
    async with (
        Upstream(refusal(400, "temperature must be below 1")).running() as upstream,
        engine_on(upstream) as engine,
    ):
        with pytest.raises(InvalidRequestError, match="must be below 1") as raised:
            await answer(engine, asked())
    assert raised.value.param == "temperature"
    assert len(upstream.bodies) == 1


@pytest.mark.parametrize("status", [301, 401, 403, 404])
async def test_upstream_that_refuses_us_keeps_its_words_from_the_client(status: int) -> None:
    """A wrong key or path is this installation's fault, and its details are not the
    client's business.
    """
    async with (
        Upstream(refusal(status, "Incorrect API key sk-secret")).running() as upstream,
        engine_on(upstream) as engine,
    ):
        with pytest.raises(EngineFailedError, match=str(status)) as raised:
            await answer(engine, asked())
    assert "sk-secret" not in str(raised.value)
    assert len(upstream.bodies) == 1


@pytest.mark.parametrize(
    "act",
    [
        refusal(400, "the header Authorization: Bearer up-key-4711 is too long"),
        refusal(500, "cannot use up-key-4711"),
        refusal(429, "up-key-4711 has no quota"),
        Act((*said(["Hel"], finish=None, done=False), b'data: {"error": {"message": "up-key-4711"}}\n\n')),
    ],
    ids=["refused", "failed", "limited", "in the stream"],
)
async def test_upstream_that_quotes_our_key_is_told_without_it(
    act: Act, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever may ask the model would have it otherwise."""
    (tmp_path / "key").write_text("up-key-4711\n")
    monkeypatch.setenv("UPSTREAM_KEY_FILE", str(tmp_path / "key"))
    async with (
        Upstream(act).running() as upstream,
        engine_on(upstream, api_key_env="UPSTREAM_KEY", attempts=1) as engine,
    ):
        with pytest.raises((EngineFailedError, InvalidRequestError), match=r"\[API key\]") as raised:
            await answer(engine, asked())
    assert upstream.authorizations == ["Bearer up-key-4711"]
    assert "4711" not in str(raised.value)


async def test_upstream_that_quotes_a_prompt_is_not_quoted_in_the_log_of_retries() -> None:
    """Its words come before the first token, so it is asked again."""
    with capture_logs() as logs:
        async with (
            Upstream(Act((b"data: jean.dupont@example.fr said {oops\n\n",))).running() as upstream,
            engine_on(upstream, attempts=2) as engine,
        ):
            with pytest.raises(EngineFailedError, match="no chunk"):
                await answer(engine, asked())
    assert "stamina.retry_scheduled" in {one["event"] for one in logs}
    assert "dupont" not in str(logs)


@pytest.mark.parametrize(
    "act",
    [
        Act(said(["Hel"], finish=None, done=False), ending="abort_when_heard"),
        Act(said(["Hel"], finish=None, done=False)),
        Act(said(["Hel"], finish=None)),
        Act((*said(["Hel"], finish=None, done=False), b'data: {"error": {"message": "gone"}}\n\n')),
        Act((*said(["Hel"], finish=None, done=False), b"data: {oops\n\n")),
        Act(said(["Hel"], finish=None, done=False), ending="silence"),
    ],
    ids=["abort", "early-close", "done-without-finish", "error-event", "garbage", "silence"],
)
async def test_upstream_that_breaks_off_in_the_middle_is_an_error_and_not_asked_again(act: Act) -> None:
    """What was said is passed on, then the failure: never a clean end, never a second
    answer behind a first.
    """
    text = ""
    async with (
        Upstream(act, HELLO).running() as upstream,
        engine_on(upstream, silence_timeout_s=0.3) as engine,
    ):
        with pytest.raises(EngineFailedError):  # noqa: PT012  the text before the failure is the point
            async with asyncio.timeout(20):
                async for item in engine.generate(asked()):
                    if isinstance(item, Piece):
                        text += item.text
                        upstream.heard.set()
        assert text == "Hel"
        assert len(upstream.bodies) == 1


async def test_upstream_cut_behind_a_complete_answer_is_no_failure() -> None:
    """Every choice had its finish reason; only the count is missing, and is estimated."""
    act = Act(said(["Hello"], done=False), ending="abort_when_heard")
    async with Upstream(act).running() as upstream, engine_on(upstream) as engine, asyncio.timeout(20):
        items: list[Piece | Usage] = []
        async for item in engine.generate(asked()):
            items.append(item)
            if isinstance(item, Piece) and item.finish_reason:
                upstream.heard.set()
    assert [item.text for item in items if isinstance(item, Piece)] == ["Hello", ""]
    assert items[-1] == Usage(prompt_tokens=3, completion_tokens=1)


async def test_upstream_that_answers_without_streaming_is_an_engine_failure() -> None:
    """A whole JSON body where a stream was asked for is not understood by guessing."""
    act = Act(parts=(b'{"choices": []}',), headers={"content-type": "application/json"})
    async with Upstream(act).running() as upstream, engine_on(upstream) as engine:
        with pytest.raises(EngineFailedError, match="application/json"):
            await answer(engine, asked())


async def test_upstream_of_a_client_that_leaves_sees_the_connection_close() -> None:
    """Closing the generator stops the upstream's work too."""
    act = Act(said(["Hel"], finish=None, done=False), ending="silence")
    async with Upstream(act).running() as upstream, engine_on(upstream) as engine:
        async with aclosing(engine.generate(asked())) as stream:
            await anext(stream)
        await asyncio.wait_for(upstream.hung_up.wait(), timeout=10)


async def test_upstream_that_continues_gets_what_was_delivered_and_the_rest_of_the_budget() -> None:
    """The beginning goes along as an assistant message; counts are the whole request's."""
    async with (
        Upstream(HELLO).running() as upstream,
        engine_on(upstream, continuation="approximate") as engine,
    ):
        _, _, usage = await answer(engine, asked(delivered=("Well, ",), delivered_tokens=(2,), max_tokens=20))
    assert upstream.bodies[0]["messages"][-1] == {"role": "assistant", "content": "Well, "}
    assert upstream.bodies[0]["max_tokens"] == 18
    assert usage == Usage(prompt_tokens=9, completion_tokens=9)


async def test_upstream_with_a_spent_budget_is_not_asked() -> None:
    """Everything was delivered but the end."""
    async with (
        Upstream(HELLO).running() as upstream,
        engine_on(upstream, continuation="approximate") as engine,
    ):
        text, reason, _ = await answer(
            engine, asked(delivered=("Well",), delivered_tokens=(5,), max_tokens=5)
        )
    assert (text, reason, upstream.bodies) == ("", "length", [])


async def test_upstream_that_cannot_continue_is_not_asked_to() -> None:
    """By default a broken stream stays broken, and says so."""
    async with Upstream(HELLO).running() as upstream, engine_on(upstream) as engine:
        with pytest.raises(ContinuationError, match="continuation none"):
            await answer(engine, asked(delivered=("Well",), delivered_tokens=(1,)))


async def test_upstream_whose_key_is_not_set_is_a_configuration_error() -> None:
    """The message names the variable."""
    with pytest.raises(ConfigError, match="NO_SUCH_KEY"):
        async with engine_on(Upstream(HELLO), base_url="http://127.0.0.1:9/v1", api_key_env="NO_SUCH_KEY"):
            pass


@pytest.mark.parametrize("allowed", ["", "10.0.0.0/8", "::1"])
async def test_upstream_on_a_private_address_is_refused_unless_its_network_is_allowed(
    monkeypatch: pytest.MonkeyPatch, allowed: str
) -> None:
    """At once, with the setting that allows it; nothing reaches the upstream."""
    monkeypatch.setenv("TOCSIN_EGRESS_ALLOWED", allowed)
    async with Upstream(HELLO).running() as upstream, engine_on(upstream) as engine:
        with pytest.raises(EngineFailedError, match="TOCSIN_EGRESS_ALLOWED"):
            await answer(engine, asked())
    assert not upstream.bodies

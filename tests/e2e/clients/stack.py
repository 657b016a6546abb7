"""What the clients talk to: a gateway before scripted models, and a proxy before it that
refuses each client's first request.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from aiohttp import ClientSession, web

from services.common.control.access.throttle import FailureThrottle, GuessThrottle
from services.common.requests.model_catalogue import OPTIONAL_CAPABILITIES, ModelConfig
from services.gateway.app import build
from tests.integration.gateway.conftest import Scene
from tests.support.control import make_key
from tests.support.inference.in_process import scripted_model, stage

_DUMPED = {"name", "engine", "options", "slots", "context_length", "capabilities"}


@dataclass
class Flaky:
    """Answers 503 to the first request of each client, and passes on the others."""

    gateway: str
    tries: dict[str, int] = field(default_factory=dict)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One request; the client's name is the path's first part."""
        client, _, path = request.path.removeprefix("/").partition("/")
        self.tries[client] = self.tries.get(client, 0) + 1
        if self.tries[client] == 1:
            body = {"error": {"message": "try again", "type": "server_error", "param": None, "code": "x"}}
            return web.json_response(body, status=503, headers={"retry-after-ms": "20"})
        headers = {name: request.headers[name] for name in ("authorization", "content-type")}
        async with (
            ClientSession() as session,
            session.post(f"{self.gateway}/{path}", data=await request.read(), headers=headers) as answer,
        ):
            return web.Response(
                status=answer.status, body=await answer.read(), content_type=answer.content_type
            )


@dataclass
class Stack:
    """Where clients find what is running."""

    kafka_url: str
    address: str
    flaky_address: str
    model: str
    slow_model: str
    keys: dict[str, str]
    key_ids: dict[str, str]
    flaky: Flaky


@contextlib.contextmanager
def running_stack(kafka_url: str, folder: Path, clients: list[str]) -> Iterator[Stack]:
    """Everything on a loop of its own, in a thread, while the context lasts; a key for
    each client.
    """
    loop, done, ready = asyncio.new_event_loop(), asyncio.Event(), threading.Event()
    found: list[Stack | BaseException] = []

    async def serve() -> None:
        try:
            async with _stack(kafka_url, folder, clients) as stack:
                found.append(stack)
                ready.set()
                await done.wait()
        except BaseException as error:
            found.append(error)
            ready.set()
            raise

    thread = threading.Thread(target=loop.run_until_complete, args=[serve()])
    thread.start()
    try:
        assert ready.wait(90)
        if isinstance(found[0], BaseException):
            raise found[0]
        yield found[0]
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(60)
        loop.close()


@contextlib.asynccontextmanager
async def _stack(kafka_url: str, folder: Path, clients: list[str]) -> AsyncIterator[Stack]:
    everything = sorted(OPTIONAL_CAPABILITIES["scripted"])
    model = scripted_model(slots=16, capabilities=everything, options={"tokens_per_piece": 2})
    slow = scripted_model(
        slots=32, capabilities=everything, options={"tokens_per_s": 5, "default_tokens": 200}
    )
    models_file = folder / "models.yaml"
    models_file.write_text(
        yaml.safe_dump({"models": [one.model_dump(mode="json", include=_DUMPED) for one in (model, slow)]})
    )
    async with contextlib.AsyncExitStack() as stack:
        for one in (model, slow):
            await _serve_model(stack, kafka_url, one)
        made = {client: await make_key(kafka_url) for client in clients}
        gateway = build(Scene(kafka_url, model.name, models_file, "").settings())
        stack.push_async_callback(gateway.close)
        await gateway.start()
        working = asyncio.create_task(gateway.run())
        stack.callback(working.cancel)
        gateway.health.started = True
        # All clients try a wrong key from one address.
        patient = FailureThrottle(free=1000)
        gateway.serving.keys.throttle = GuessThrottle(patient, patient)
        async with asyncio.timeout(30):
            while not gateway.serving.bus_monitor.available:  # noqa: ASYNC110  it has no event
                await asyncio.sleep(0.05)
        address = f"http://127.0.0.1:{gateway.port}"
        flaky = Flaky(address)
        yield Stack(
            kafka_url,
            address,
            await _serve_flaky(stack, flaky),
            model.name,
            slow.name,
            {client: clear for client, (clear, _) in made.items()},
            {client: clear.split("_")[1] for client, (clear, _) in made.items()},
            flaky,
        )


async def _serve_model(stack: contextlib.AsyncExitStack, kafka_url: str, model: ModelConfig) -> None:
    running = await stack.enter_async_context(stage(kafka_url, model))
    await running.add_dispatcher()
    await running.add_replica()


async def _serve_flaky(stack: contextlib.AsyncExitStack, flaky: Flaky) -> str:
    app = web.Application()
    app.router.add_post("/{path:.*}", flaky.serve)
    runner = web.AppRunner(app)
    stack.push_async_callback(runner.cleanup)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}"

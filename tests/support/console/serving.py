"""A console's application on a port, in a process of its own that may be killed, before a
real store and without a bus: `python -m tests.support.console.serving STORE_URL PORT KEY_FILE`.
"""

import asyncio
import sys
from pathlib import Path

import uvicorn

from schemas.control import KeyChanged
from services.common.store.reading import ViewReader
from tests.support.console.scene import ConsoleScene


async def serve(store_url: str, port: int, key: KeyChanged) -> None:
    """Answers this key's owner until it is ended."""
    scene = ConsoleScene()
    scene.have_tenant(key.tenant)
    scene.have(key)
    scene.console.views.text = ViewReader(store_url).text  # type: ignore[method-assign]
    config = uvicorn.Config(
        scene.console.app, host="127.0.0.1", port=port, log_level="warning", lifespan="off"
    )
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    url, at, file = sys.argv[1:]
    asyncio.run(serve(url, int(at), KeyChanged.model_validate_json(Path(file).read_bytes())))

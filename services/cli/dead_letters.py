"""`tocsin dlq`: what consumers could not use."""

import asyncio
from typing import Annotated

import typer

from services.cli.beside import run_beside_installation

app = typer.Typer(help="What consumers could not use.", no_args_is_help=True)


@app.command("list")
def list_() -> None:
    """Show what was set aside and not replayed."""
    run_beside_installation(_show)


@app.command()
def replay(limit: Annotated[int | None, typer.Option(min=1, help="At most so many a topic.")] = None) -> None:
    """Send what was set aside to where it came from."""
    run_beside_installation(lambda: _replay(limit))


def _show() -> int:
    from services.common.bus.dead_letters.dead_letter_log import dead_letter_topics, list_dead_letters
    from services.common.process.settings import CommonSettings

    url = CommonSettings.load().kafka_url
    for topic in dead_letter_topics():
        for letter in asyncio.run(list_dead_letters(url, topic)):
            place = f"{letter.topic}[{letter.partition}]@{letter.offset}"
            print(
                f"{place}  {letter.failed_at:%Y-%m-%d %H:%M:%S}  {letter.consumer}  {letter.error_type}: "
                f"{letter.error}"
            )
    return 0


def _replay(limit: int | None) -> int:
    from services.common.bus.dead_letters.dead_letter_log import dead_letter_topics, replay_dead_letters
    from services.common.process.settings import CommonSettings

    url = CommonSettings.load().kafka_url
    for topic in dead_letter_topics():
        print(f"{topic}: {asyncio.run(replay_dead_letters(url, topic, limit=limit))}")
    return 0

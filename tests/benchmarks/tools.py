"""How well the shipped model chooses tools: `python -m tests.benchmarks.tools`.

Twenty questions, each of which one of six functions answers, greedy. Valid: the
arguments are JSON by the function's schema. Right: the function is the one meant.
Arguments: the value that the question names is in them.
"""

import argparse
import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from services.common.requests.model_catalogue import load_models
from services.inference.engines import create_engine
from services.inference.engines.base import Engine, GenerationRequest, Piece, Sampling
from tests.support.inference.smollm2 import MODELS


def _function(name: str, description: str, **properties: str) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {key: {"type": kind} for key, kind in properties.items()},
        "required": list(properties),
    }
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": schema},
    }


TOOLS = (
    _function("get_weather", "Current weather of a city", city="string"),
    _function("add", "Add two numbers", a="number", b="number"),
    _function("send_email", "Send an e-mail to someone", to="string", body="string"),
    _function("search_web", "Search the web for a topic", query="string"),
    _function("set_timer", "Set a timer in minutes", minutes="integer"),
    _function("translate", "Translate a text into another language", text="string", language="string"),
)
CASES = (
    ("What is the weather in Paris?", "get_weather", "Paris"),
    ("Is it raining in Tokyo right now?", "get_weather", "Tokyo"),
    ("How warm is it in Cairo today?", "get_weather", "Cairo"),
    ("Tell me the weather in Oslo.", "get_weather", "Oslo"),
    ("What is 3 plus 4?", "add", "4"),
    ("Add 17 and 25.", "add", "25"),
    ("How much is 120 + 8?", "add", "120"),
    ("Send an e-mail to bob@example.com that says hi.", "send_email", "bob@example.com"),
    ("Write to anna@example.org that I am late.", "send_email", "anna@example.org"),
    ("E-mail team@example.com: the build is green.", "send_email", "team@example.com"),
    ("Search the web for quantum computers.", "search_web", "quantum"),
    ("Find pages about the French Revolution.", "search_web", "French Revolution"),
    ("Look up how bees make honey.", "search_web", "honey"),
    ("Set a timer for 5 minutes.", "set_timer", "5"),
    ("Wake me in 20 minutes.", "set_timer", "20"),
    ("I need a 45 minute timer.", "set_timer", "45"),
    ("Translate 'good morning' into Spanish.", "translate", "Spanish"),
    ("How do you say 'thank you' in German?", "translate", "German"),
    ("Translate 'the cat sleeps' to French.", "translate", "French"),
    ("Put 'where is the station' into Italian.", "translate", "Italian"),
)


@dataclass
class Score:
    """Counts over all cases."""

    called: int = 0
    valid: int = 0
    right: int = 0
    arguments: int = 0


async def _call(engine: Engine, question: str, choice: Any) -> tuple[str, str] | None:
    request = GenerationRequest(
        "chatcmpl-bench",
        "chat",
        messages=({"role": "user", "content": question},),
        sampling=Sampling(
            temperature=0.0, max_tokens=256, tools=TOOLS, tool_choice=choice, parallel_tool_calls=False
        ),
    )
    parts = [
        part
        async for piece in engine.generate(request)
        if isinstance(piece, Piece)
        for part in piece.tool_calls
    ]
    name = next((part.name for part in parts if part.name), None)
    return (name, "".join(part.arguments for part in parts)) if name else None


def _judge(score: Score, call: tuple[str, str] | None, wanted: str, value: str) -> None:
    if call is None:
        return
    name, arguments = call
    schema = next(tool["function"]["parameters"] for tool in TOOLS if tool["function"]["name"] == name)
    score.called += 1
    try:
        Draft202012Validator(schema).validate(json.loads(arguments))
    except ValueError:
        return
    score.valid += 1
    score.right += name == wanted
    score.arguments += name == wanted and value.lower() in arguments.lower()


async def measure(models: Path, model: str) -> dict[str, Score]:
    """The score of each tool_choice."""
    config = next(one for one in load_models(models) if model in one.served_names)
    engine = create_engine(config)
    await engine.start()
    scores = {"auto": Score(), "required": Score(), "named": Score()}
    for question, wanted, value in CASES:
        for choice, score in scores.items():
            named = {"type": "function", "function": {"name": wanted}}
            call = await _call(engine, question, named if choice == "named" else choice)
            _judge(score, call, wanted, value)
    await engine.close()
    return scores


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--model", default="smollm2-135m")
    arguments = parser.parse_args()
    scores = asyncio.run(measure(arguments.models, arguments.model))
    print("| tool_choice | calls | valid | right function | and its value |\n|-|-|-|-|-|")
    for choice, score in scores.items():
        print(
            f"| {choice} | {score.called}/{len(CASES)} | {score.valid} | {score.right} | {score.arguments} |"
        )


if __name__ == "__main__":
    main()

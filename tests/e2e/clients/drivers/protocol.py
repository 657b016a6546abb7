"""What a driver reads and writes: a task on standard input, results on standard output."""

import json
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city",
        "parameters": WEATHER,
        "strict": True,
    },
}
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "people": {"type": "integer"}},
    "required": ["city", "people"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Task:
    """Where the gateway is, and one scenario."""

    url: str
    flaky_url: str
    key: str
    model: str
    slow_model: str
    scenario: Mapping[str, Any]

    @property
    def prompt(self) -> str:
        """What is asked."""
        return str(self.scenario["prompt"])

    @property
    def messages(self) -> Any:
        """The same as a conversation."""
        return [{"role": "user", "content": self.prompt}]


def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


def call_of(name: str, arguments: str | Mapping[str, Any]) -> dict[str, Any]:
    """A tool call as results show it."""
    parsed = json.loads(arguments) if isinstance(arguments, str) else dict(arguments)
    return {"name": name, "arguments": parsed}


def error_of(error: Any) -> dict[str, Any]:
    """An API error of OpenAI's SDK."""
    return {"status": error.status_code, "code": error.code}


def run(handlers: Mapping[str, Callable[[Task], Mapping[str, Any]]]) -> None:
    """Plays every scenario that there is a handler for."""
    given = json.load(sys.stdin)
    scenarios = given.pop("scenarios")
    results: dict[str, Any] = {}
    for scenario in scenarios:
        handler = handlers.get(scenario["do"])
        if handler is None:
            results[scenario["name"]] = {"unsupported": True}
            continue
        try:
            results[scenario["name"]] = dict(handler(Task(**given, scenario=scenario)))
        except Exception:  # noqa: BLE001  the test shows it
            results[scenario["name"]] = {"crash": traceback.format_exc()[-1500:]}
    json.dump(results, sys.stdout)

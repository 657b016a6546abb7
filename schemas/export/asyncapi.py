"""The AsyncAPI 3 document of the bus, made from the list of topics."""

from collections.abc import Callable, Sequence
from typing import Any

import yaml

from schemas.topics import Topic

_HEADERS = {
    "type": "object",
    "description": "CloudEvents 1.0 in Kafka's binary mode. ce_sequence counts within (ce_source, topic), "
    "where the producer counts.",
    "required": ["ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time"],
    "properties": {
        name: {"type": "string"}
        for name in (
            "ce_specversion",
            "ce_id",
            "ce_type",
            "ce_source",
            "ce_time",
            "ce_subject",
            "ce_tenant",
            "ce_sequence",
            "traceparent",
            "content-type",
        )
    },
}


def asyncapi_document(topics: Sequence[Topic], schema_of: Callable[[Topic], str]) -> str:
    """The document as YAML.

    `schema_of` tells where a topic's JSON Schema lies, relative to it.
    """
    document = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Tocsin's bus",
            "version": "1.0.0",
            "description": "Every topic, who writes it and who reads it. Made by `python -m "
            "schemas.export`; change schemas/topics instead.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {_name(topic): _channel(topic) for topic in topics},
        "operations": {name: operation for topic in topics for name, operation in _operations(topic).items()},
        "components": {
            "schemas": {"envelope": _HEADERS},
            "messages": {_name(topic): _message(topic, schema_of(topic)) for topic in topics},
        },
    }
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=160)


def _name(topic: Topic) -> str:
    return topic.name.replace("{", "").replace("}", "").replace(".", "_")


def _channel(topic: Topic) -> dict[str, Any]:
    cleanup: dict[str, Any] = {"cleanup.policy": ["compact"]}
    if topic.retention is not None:
        cleanup = {"cleanup.policy": ["delete"], "retention.ms": int(topic.retention.total_seconds() * 1000)}
    parameters = {
        name: {"description": description}
        for name, description in _PARAMETERS.items()
        if f"{{{name}}}" in topic.name
    }
    return {
        "address": topic.name,
        "description": topic.summary,
        "messages": {"event": {"$ref": f"#/components/messages/{_name(topic)}"}},
        **({"parameters": parameters} if parameters else {}),
        "bindings": {
            "kafka": {
                "partitions": topic.partitions,
                "topicConfiguration": cleanup,
                "bindingVersion": "0.5.0",
            }
        },
    }


_PARAMETERS = {
    "model": "The model's name, as schemas.topics.model_slug writes it.",
    "lane": "interactive or batch.",
}


def _operations(topic: Topic) -> dict[str, Any]:
    found = {}
    for action, whose in (("send", topic.producers), ("receive", topic.consumers)):
        for who in whose:
            found[f"{who}_{action}s_{_name(topic)}"] = {
                "action": action,
                "channel": {"$ref": f"#/channels/{_name(topic)}"},
                "tags": [{"name": who}],
            }
    return found


def _message(topic: Topic, schema: str) -> dict[str, Any]:
    return {
        "name": topic.name,
        "contentType": "application/json",
        "headers": {"$ref": "#/components/schemas/envelope"},
        "payload": {"$ref": f"./{schema}"},
        "bindings": {
            "kafka": {"key": {"type": "string", "description": topic.key}, "bindingVersion": "0.5.0"}
        },
    }

"""One AsyncAPI document of the two that there are: ours, of all topics, and FastStream's
of what is consumed. Pure.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

Document = dict[str, Any]


def merged(ours: Mapping[str, Any], generated: Sequence[Mapping[str, Any]]) -> Document:
    """Ours, with FastStream's operations, titles and groups at the channels that they
    consume.

    Raises:
        ValueError: something is consumed that our document does not have.
    """
    document = copy.deepcopy(dict(ours))
    names = {channel["address"]: name for name, channel in document["channels"].items()}
    for one in generated:
        for key, channel in one["channels"].items():
            if channel["address"] not in names:
                raise ValueError(f"{channel['address']} is consumed, but is not in schemas/topics")
            name, group = names[channel["address"]], key.partition(":")[0]
            document["operations"][f"{group}_consumes_{name}"] = {
                "action": "receive",
                "title": key,
                "channel": {"$ref": f"#/channels/{name}"},
                "bindings": {
                    "kafka": {"groupId": {"type": "string", "enum": [group]}, "bindingVersion": "0.5.0"}
                },
                "tags": [{"name": "faststream"}],
            }
    return document

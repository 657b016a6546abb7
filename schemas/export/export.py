"""Writes what follows from `schemas.topics`: the JSON Schemas and the AsyncAPI
document. `python -m schemas.export [--check | --release]`.

Each topic has a folder of numbered revisions in `jsonschema/`. `released.json` holds
the digests of those that were released: they never change. A change of a model goes to
the newest revision while that one is a draft, and to the next one after its release, if
it is compatible with every released revision; otherwise it needs a new topic (`.v2`).
With `--check` nothing is written; what is not as it should be is printed, and the exit
status is 1.
"""

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.export.asyncapi import asyncapi_document
from schemas.export.compatibility import Schema, breaking_changes, same_meaning
from schemas.topics import TOPICS, Topic, dead_letter_topic

HOME = Path(__file__).resolve().parents[1]
"""The folder `schemas/`."""


@dataclass(frozen=True, slots=True)
class Written:
    """A file as it should be."""

    path: Path
    text: str


class BreakingChangeError(Exception):
    """A model no longer fits what was released."""


def all_topics() -> list[Topic]:
    """Every topic, with the dead-letter topics."""
    return [*TOPICS, *(dead_letter_topic(topic) for topic in TOPICS if topic.dead_letters)]


def folder_name(topic: Topic) -> str:
    """A topic's folder: its name, without what varies in it."""
    return ".".join(part for part in topic.name.split(".") if not part.startswith("{"))


def plan(home: Path = HOME) -> list[Written]:
    """The files that differ from what they should be.

    Raises:
        BreakingChangeError: a model breaks a released revision, or a released file was
            changed.
    """
    released = _released(home)
    _check_digests(home, released)
    wanted = [_schema_file(home, topic, released) for topic in all_topics()]
    current = {folder_name(topic): one.path for topic, one in zip(all_topics(), wanted, strict=True)}
    wanted.append(
        Written(
            home / "asyncapi.yaml",
            asyncapi_document(
                all_topics(), lambda topic: current[folder_name(topic)].relative_to(home).as_posix()
            ),
        )
    )
    return [one for one in wanted if not one.path.exists() or one.path.read_text() != one.text]


def release(home: Path = HOME) -> list[str]:
    """Makes every newest revision a released one; the names of those that were drafts."""
    released = _released(home)
    newest = [revisions[-1] for topic in all_topics() if (revisions := _revisions(home, topic))]
    fresh = {_key(home, path): _digest(path) for path in newest if _key(home, path) not in released}
    (home / "jsonschema" / "released.json").write_text(_dumped(dict(sorted((released | fresh).items()))))
    return sorted(fresh)


def main(arguments: Sequence[str]) -> int:
    """Writes, checks or releases; the exit status."""
    try:
        differing = plan()
    except BreakingChangeError as error:
        return _say(str(error), status=1)
    if "--check" in arguments:
        names = "\n".join(
            f"{one.path.relative_to(HOME.parent)} is not current: run `python -m schemas.export`"
            for one in differing
        )
        return _say(names or "schemas are current", status=bool(names))
    for one in differing:
        one.path.parent.mkdir(parents=True, exist_ok=True)
        one.path.write_text(one.text)
    said = [f"wrote {one.path.relative_to(HOME.parent)}" for one in differing]
    if "--release" in arguments:
        said += [f"released {name}" for name in release()]
    return _say("\n".join(said) or "nothing to do", status=0)


def _schema_file(home: Path, topic: Topic, released: dict[str, str]) -> Written:
    """The revision that the topic's model belongs to."""
    schema = _schema(topic)
    revisions = _revisions(home, topic)
    frozen = [path for path in revisions if _key(home, path) in released]
    for path in frozen:
        if problems := breaking_changes(json.loads(path.read_text()), schema):
            reasons = "\n  ".join(problems)
            raise BreakingChangeError(
                f"the model of {topic.name} breaks {_key(home, path)}, which was released:\n  "
                f"{reasons}\nUndo it, or make it a new topic."
            )
    if revisions and revisions[-1] in frozen:
        if same_meaning(json.loads(revisions[-1].read_text()), schema):
            return Written(revisions[-1], revisions[-1].read_text())
        return Written(revisions[-1].with_name(f"{len(revisions) + 1}.json"), _dumped(schema))
    return Written(
        revisions[-1] if revisions else home / "jsonschema" / folder_name(topic) / "1.json", _dumped(schema)
    )


def _schema(topic: Topic) -> Schema:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"tocsin:{folder_name(topic)}",
        **topic.model.json_schema(),
    }


def _revisions(home: Path, topic: Topic) -> list[Path]:
    return sorted((home / "jsonschema" / folder_name(topic)).glob("*.json"), key=lambda path: int(path.stem))


def _released(home: Path) -> dict[str, str]:
    path = home / "jsonschema" / "released.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _check_digests(home: Path, released: dict[str, str]) -> None:
    for problem in _changed(home, released):
        raise BreakingChangeError(problem)


def _changed(home: Path, released: dict[str, str]) -> Iterator[str]:
    for name, digest in released.items():
        path = home / "jsonschema" / name
        if not path.exists() or _digest(path) != digest:
            yield (
                f"schemas/jsonschema/{name} was released and must stay as it was: `git checkout` it; a "
                "change goes to the next revision"
            )


def _key(home: Path, path: Path) -> str:
    return path.relative_to(home / "jsonschema").as_posix()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _dumped(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _say(text: str, *, status: int) -> int:
    sys.stdout.write(text + "\n")
    return status

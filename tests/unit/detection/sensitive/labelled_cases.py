"""The labelled cases of `cases/`: read, with secrets made up on the spot.

A line is `language: text`; in the text `[[TYPE:value]]` is what is to be found. Type S
is any secret. A line that begins with `?` is known to be judged wrongly. In secrets.txt
and placeholders.txt a `·` is left out, and `{tok32}` and its like become random values,
so that no scanner of repositories finds a secret in them.
"""

import codecs
import random
import re
import string
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).with_name("cases")
_MARK = re.compile(r"\[\[([A-Z_]+):(.*?)\]\]", re.DOTALL)
_ESCAPE = re.compile(r"\\u[0-9a-f]{4}|\\n|\\\\")
_MADE = re.compile(r"\{(tok32|hex32|pw|pwurl|alnum|alpha|upper|dig|b64_)([0-9]*)\}")
_ALPHABETS = {
    "alnum": string.ascii_letters + string.digits,
    "tok32": string.ascii_letters + string.digits,
    "hex32": "0123456789abcdef",
    "alpha": string.ascii_letters,
    "upper": string.ascii_uppercase + "234567",
    "dig": string.digits,
    "b64_": string.ascii_letters + string.digits + "+/",
    "pw": string.ascii_letters + string.digits + "!?*+(",
    "pwurl": string.ascii_letters + string.digits + "-_",
}


def labelled_cases(name: str, seed: int = 13) -> list[dict[str, Any]]:
    """The rows of one file of cases in the format of `tests.benchmarks.pii`."""
    chance = random.Random(seed)
    lines = (_FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return [_row(line, name, chance) for line in lines if line.strip() and not line.startswith("#")]


def _row(line: str, name: str, chance: random.Random) -> dict[str, Any]:
    lang, _, marked = line.removeprefix("?").partition(": ")
    marked = _MADE.sub(lambda made: _made_up(made, chance), marked.replace("·", ""))
    marked = _ESCAPE.sub(lambda escape: codecs.decode(escape.group(), "unicode_escape"), marked)
    text, spans, done = "", list[dict[str, Any]](), 0
    for mark in _MARK.finditer(marked):
        kind, value = mark.groups()
        text += marked[done : mark.start()]
        spans.append({"start": len(text), "end": len(text) + len(value), "value": value})
        spans[-1]["type"] = "SECRET_ANY" if kind == "S" else kind
        text, done = text + value, mark.end()
    return {
        "text": text + marked[done:],
        "spans": spans,
        "lang": lang,
        "source": name,
        "is_missed": line.startswith("?"),
        "placeholder": name == "placeholders",
    }


def _made_up(made: re.Match[str], chance: random.Random) -> str:
    """A random value; a password has each class of characters."""
    alphabet = _ALPHABETS[made.group(1)]
    size = int(made.group(2) or re.sub(r"\D", "", made.group(1)) or 12)
    sure = "q7R" if made.group(1) in ("pw", "pwurl", "tok32") else ""
    return sure + "".join(chance.choice(alphabet) for _ in range(size - len(sure)))

"""Whether a value is a secret at all, or only stands for one."""

import math
import re
from collections import Counter
from itertools import pairwise

from services.detection.secrets.table import names

_STRUCTURAL = re.compile(
    r"<[^>]*>|<[A-Za-z_ -]*|\$\{?[A-Z_][A-Z0-9_.]*\}?|\$[a-z_]+|%[A-Za-z_]+%|\[[^\]]*\]|\[[A-Za-z_ -]*"
    r"|#?\{[^}]*\}|#?\{[A-Za-z_ -]*|@+[A-Za-z_]+@+"
    r"|[xX*.•●_#-]+"
)
# What holds no value at all, whoever wrote it: a name in brackets, a variable, marks.
_EMPTY = re.compile(
    r"<[A-Za-z_ .-]*>?|\$\{[A-Za-z_][\w.]*\}?|\$[A-Z_][A-Z0-9_]*|\$[a-z_]+|%[A-Za-z_]+%"
    r"|[#$]?\{{1,2}[A-Za-z_ .-]*\}{0,2}|\[[A-Za-z_ .-]*\]?|\[[A-Z][A-Z_]*_[0-9]+\]|@+[A-Za-z_]+@+"
    r"|[xX*.•●_#-]+|(.)\1*"
)
_REFERENCE = re.compile(
    r"(?:process\.env|os\.environ|os\.getenv|getenv|secrets|config|settings|self|this|env|vault)(?=[.:\[(])"
    r"(?:[.:/][A-Za-z_]++|[\[(][\"']?[A-Za-z_.]*+[\"']?[\])]?)*+[;,)\]]*+",
    re.IGNORECASE,
)
_HOLE = re.compile(
    r"<[A-Za-z_ -]{1,40}>|\.\.\.|…|(.)\1{4}"
)  # something left out, or one character again and again


def entropy(value: str) -> float:
    """Shannon entropy of the characters, in bits a character."""
    if not value:
        return 0.0
    size = len(value)
    return -sum(n / size * math.log2(n / size) for n in Counter(value).values())


def is_placeholder(value: str) -> bool:
    """Whether a value stands for a secret: `<YOUR_KEY>`, `${TOKEN}`, `xxxxxxxx`,
    `changeme`, `AKIA…EXAMPLE`, a masked one.
    """
    lower = value.lower()
    if _STRUCTURAL.fullmatch(value) or _HOLE.search(lower) or len(set(lower)) <= min(3, len(lower) - 1):
        return True
    return says_placeholder(lower) or _is_sequence(lower)


def holds_nothing(value: str) -> bool:
    """Whether a value holds no secret, however one looks at it: `<YOUR_KEY>`, `${TOKEN}`,
    `xxxxxxxx`, `os.environ["KEY"]`, a masked one; `changeme` and `1234567890` may be one.
    """
    return bool(_EMPTY.fullmatch(value) or _REFERENCE.fullmatch(value))


def _is_sequence(lower: str) -> bool:
    """Whether letters and digits mostly follow one another: `abcd1234efgh5678`, `qwertyuiop`."""
    marks = "".join(filter(str.isalnum, lower))
    return len(marks) >= 8 and sum(map(_STEPS.__contains__, pairwise(marks))) >= 0.7 * (len(marks) - 1)


_ROWS = ("0123456789012", "abcdefghijklmnopqrstuvwxyz", "qwertyuiop", "asdfghjkl", "zxcvbnm", "azertyuiop")
_STEPS = frozenset(step for row in _ROWS for step in pairwise(row))


def says_placeholder(lower: str) -> bool:
    """Whether a value in lower case holds a placeholder's word."""
    words = names().placeholders if len(lower) <= 64 else names().long_placeholders
    for word in words:  # noqa: SIM110 - twice as fast as any(), on every candidate
        if word in lower:
            return True
    return False


def is_nobodys(value: str, *, doubtful: bool) -> bool:
    """Whether a value is passed over: as a placeholder, or, where `doubtful` ones count
    as secrets, because it holds nothing.
    """
    return holds_nothing(value) if doubtful else is_placeholder(value)


def is_sample_login(user: str, password: str, *, doubtful: bool = False) -> bool:
    """Whether a user and a password stand for others: `user:pass`, `root:root`."""
    if doubtful:
        return holds_nothing(password)
    lower = password.lower()
    is_sample = lower in names().sample_logins or (lower == user.lower() and lower.isalpha())
    return is_sample or is_placeholder(password)

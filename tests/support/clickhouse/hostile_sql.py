"""Pieces of SQL that lexers disagree about, and texts that mean harm made of them."""

import random

FRAGMENTS = (
    *(
        "'",
        '"',
        "`",
        "\\",
        "''",
        "\\'",
        "/*",
        "*/",
        "/* /* */",
        "//",
        "--",
        "# ",
        "#!",
        "#",
        "\n",
        " ",
        "\t",
        "\r",
    ),
    *(
        "\x00",
        "\x0b",
        "$",
        "$$",
        "$a$",
        "$1$",
        "$b",
        "a",
        "b1",
        "x'",
        "b'",
        "0",
        "12",
        "1_0",
        "0x",
        "0b1",
        "e",
    ),
    *(
        "E5",
        "e+",
        "p3",
        ".",
        "..",
        "_",
        "::",
        ":",
        ";",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        "+",
        "-",
        "->",
        "=",
    ),
    *(
        "==",
        "!=",
        "!",
        "!~",
        "~*",
        "<",
        ">",
        "<=>",
        "||",
        "|>",
        "|",
        "?",
        "@",
        "@@",
        "^",
        "~",
        "&",
        "%",
        "*",
        "/",
    ),
    *(
        "\\G",
        "é",
        "\u00a0",
        "\u3000",
        "\ufeff",
        "\u2028",
        "\u0085",
        "\u2212",
        "\u2018",
        "\u2019",
        "\u201c",
        "\u201d",
    ),
    *("select", "FORMAT", "SETTINGS", "'it''s'", "`q`", '"d"', "'\\'", "0.", "1.", ".5", "1e5"),
)

# What hides a piece of a statement from one lexer and not from another: an opening and
# a close.
_VEILS = (
    ("// '\n", "// '\n"),
    ("/* /* */ ' */", "/* ' */"),
    ("/* /* */ */ '", "'"),
    ("# '\n", "# '\n"),
    ("#! '\n", "#! '\n"),
    ("#'\n", "#'\n"),
    ("-- '\n", "-- '\n"),
    ("--'\r", "--'\n"),
    ("$$'$$", "$$'$$"),
    ("$a$ ' $a$", "$a$ ' $a$"),
    ("$a b$ '", "' $a b$"),
    ("'\\\\'", "'\\\\'"),
    ("'\\'", "'\\'"),
    ("'''", "'''"),
    ('"\'"', '"\'"'),
    ("`'`", "`'`"),
    ("`\\`'`", "`\\`'`"),
    ("\u2018'\u2019", "\u2018'\u2019"),
    ("\u201c'\u201d", "\u201c'\u201d"),
    ("x'", "'"),
    ("1 > 0. ", ""),
    ("1e5'", "'"),
    ("0x'", "'"),
    ("\u00a0--\u2028'\n", "'"),
    ("'\x00'", ""),
    ("", ""),
)
_BASES = (
    "SELECT 1 {}",
    "SELECT 1, {}",
    "SELECT {} FROM numbers(1)",
    "SELECT 1 WHERE 1 {}",
    "SELECT * FROM (SELECT 1 {}) AS t",
    "WITH a AS (SELECT 1 {}) SELECT * FROM a",
    "EXPLAIN SELECT 1 {}",
    "SELECT 1 {} FORMAT TSV",
    "SELECT 1 UNION ALL SELECT {}",
    "{} SELECT 1",
    "SHOW TABLES {}",
    "SELECT arrayMap(x -> {}, [1])",
)


def hostile_text(draw: random.Random, payloads: list[str]) -> str:
    """A statement with a payload in it, behind veils and between odd pieces."""
    parts = [draw.choice(payloads)]
    for _ in range(draw.choice((0, 1, 1, 1, 2))):
        opening, close = draw.choice(_VEILS)
        parts = [opening, *parts, close if draw.random() < 0.8 else draw.choice(_VEILS)[1]]
    if draw.random() < 0.3:
        parts.insert(draw.randrange(len(parts) + 1), draw.choice(FRAGMENTS))
    if draw.random() < 0.3:
        parts.insert(0, draw.choice((", ", "; ", ") ", "1 ", "\n")))
    text = draw.choice(_BASES).replace("{}", draw.choice((" ", "", "\n")).join(parts))
    if draw.random() < 0.1:
        at = draw.randrange(len(text))
        text = text[:at] + draw.choice(FRAGMENTS) + text[at:]
    return text

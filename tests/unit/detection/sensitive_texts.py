"""Strategies that make texts with personal data and secrets in them, and texts made to
cost time.
"""

import random

from hypothesis import strategies as st

VALUES = (
    "jean.dupont@exemple.fr",
    "Jane@Example-Corp.com",
    "06 12 34 56 78",
    "+33 6 12 34 56 78",
    "(212) 555-0147",
    "4111 1111 1111 1111",
    "4111-1111-1111-1111",
    "5555555555554444",
    "FR76 3000 6000 0112 3456 7890 189",
    "GB82WEST12345698765432",
    "219-09-4321",
    "1 84 12 76 451 089 46",
    "192.168.12.7",
    "2001:db8::8a2e:370:7334",
    "00:1b:44:11:3a:b7",
    "AB 12 34 56 C",
    "12 rue de la Paix, 75002 Paris",
    "742 Evergreen Terrace, Springfield, IL 62704",
    "né le 12/05/1971",
    "my password is hT7!kq2pLm",
    "mot de passe : Vache2folle!",
    "DB_PASSWORD=Tr0ub4dor&3x",
    "ghp_" + "Ab3dEf6hIj9kLm2nOp5qRs8tUv1wXy4zAb7c",
    "AKIA" + "Q3EGRLT5MZWK7XNP",
    "postgres://app:s3cr3tPw9@db.internal:5432/prod",
    "[EMAIL_1]",
    "[SECRET_2]",
)
FILLER = (
    "hello",
    "the",
    "and",
    "call me at",
    "order",
    "card",
    "\n",
    ", ",
    ". ",
    " ",
    "[",
    "]",
    "_",
    "-",
    "x",
    "7",
    "12",
    "[EMAIL",
    "é",
    "密",
    "😀",
    "password",
    "=",
    '"',
)


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Values, words and marks in any order, mostly parted by spaces."""
    pieces = draw(
        st.lists(
            st.one_of(st.sampled_from(VALUES), st.sampled_from(FILLER), st.text(max_size=6)), max_size=14
        )
    )
    joints = draw(
        st.lists(st.sampled_from((" ", " ", " ", "", "\n", ", ")), min_size=len(pieces), max_size=len(pieces))
    )
    return "".join(piece + joint for piece, joint in zip(pieces, joints, strict=True))


def cuts(text: str, seed: int) -> list[str]:
    """A text cut into chunks of random length, empty ones included."""
    chance = random.Random(seed)
    chunks, position = [], 0
    longest = chance.choice((1, 3, 10, 40, 5000))
    while position < len(text):
        size = chance.randint(0, longest)
        chunks.append(text[position : position + size])
        position += size
    return chunks


def _numbers(size: int) -> str:
    chance = random.Random(7)
    return " ".join(f"0{chance.randint(10**8, 10**9 - 1)}" for _ in range(size // 11))


_REPEATED = {
    "letters": "a",
    "at signs": "@",
    "at words": "a@a.",
    "digits": "1",
    "digit pairs": "1 ",
    "two digits": "12 ",
    "zeros": "01 ",
    "zero pairs": "01 23 45 67 ",
    "dashed digits": "1-",
    "groups": "1234 ",
    "short numbers": "x1234567 ",
    "dots": ".",
    "octets": "1.1.1.",
    "colons": ":",
    "hex colons": "a:",
    "brackets": "[",
    "placeholders": "[EMAIL_1]",
    "key words": "password ",
    "assignments": "key=",
    "said": "password is ",
    "token words": "token:",
    "jwt heads": "eyJ.",
    "jwt": "eyJhbGciOiJ.eyJhbGciOiJ.",
    "pem heads": "-----BEGIN PRIVATE KEY-----",
    "urls": "a://b:c@",
    "schemes": "://",
    "streets": "12 rue de la ",
    "numbered": "1 A ",
    "avenue": "1 Main Avenue ",
    "born": "born 1/1/",
    "born words": "né le ",
    "born figures": "born 4111 ",
    "headings of one cell": "née né " * 40 + "|\n" + "1\n" * 200,
    "headings over dates": "né|" * 40 + "\n" + "01/02/1990|" * 40 + "\n",
    "towns and ways": "x75001 Paris avenue ",
    "phones": "call 5403926876 ",
    "plus": "+",
    "plus one": "+1 ",
    "parentheses": "(",
    "iban": "FR76 ",
    "iban long": "GB82WEST1234",
    "ado": "server=a;password=",
    "azure": "accountkey=;",
    "sk": "sk-ant-",
    "prefixes": "ghp_",
    "nul": "\0",
    "spaces": " ",
    "lines": "\n",
    "cjk": "密码是",
    "emoji": "😀",
    "dotted": "a.",
    "dashes": "-",
    "equals": "=",
    "quotes": '"',
    "hex": "deadbeef",
    "nino": "AB123456",
    "boxes": "PO Box 1 ",
    "dates": "12/05/1971 ",
    "slashes": "1/",
    "capitals": "A",
    "title": "Aa ",
    "zip": "IL 62704 ",
}


def hostile(size: int) -> dict[str, str]:
    """Texts that make a careless pattern backtrack, or a validator run at every
    character.
    """
    chance = random.Random(3)
    made = {name: (unit * (size // len(unit) + 1))[:size] for name, unit in _REPEATED.items()}
    made["binary"] = chance.randbytes(size).decode("latin-1")
    made["surrogates"] = "".join(
        chr(chance.choice((0xD800, 0xDFFF, 0x130, 0x1F600, 0x41))) for _ in range(size)
    )
    made["random marks"] = "".join(chance.choice("0123456789 .-+()/@:=[]aA") for _ in range(size))
    made["random phones"] = _numbers(size)
    made["random words"] = " ".join(
        "".join(chance.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(6)) for _ in range(size // 7)
    )
    made["random tokens"] = " ".join(
        "".join(chance.choice("abcXYZ0189_-") for _ in range(24)) for _ in range(size // 25)
    )
    return made

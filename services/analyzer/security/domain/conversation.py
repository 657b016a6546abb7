"""A request's texts, as its end tells them: whose is which part."""

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.base import PromptPart
from services.common.requests.masking.texts import OPERATOR_ROLES

_SINGLE = 6


@dataclass(frozen=True, slots=True)
class Conversation:
    """What was written by whom.

    `system` is the operator's; `newest` what came since the model's last answer (a
    user's words, tools' results); `earlier` what came before that, the last messages
    one by one, the others as one text. The model's own earlier answers are in none.
    """

    system: str = ""
    newest: str = ""
    earlier: tuple[str, ...] = ()

    @property
    def given(self) -> tuple[str, ...]:
        """What the model was given to say back."""
        return tuple([one for one in (*self.earlier, self.newest) if one])


def conversation(text: str, parts: Sequence[PromptPart]) -> Conversation:
    """The conversation of a prompt's text. Parts that do not fit the text are not
    believed: then all of it is the newest.
    """
    if sum(one.chars for one in parts) + max(0, len(parts) - 1) != len(text) or not parts:
        return Conversation(newest=text)
    messages, place = [], 0
    for part in parts:
        messages.append((part.role, text[place : place + part.chars]))
        place += part.chars + 1
    answered = max((number for number, (role, _) in enumerate(messages) if role == "assistant"), default=-1)
    said = [(number, words) for number, (role, words) in enumerate(messages) if role not in OPERATOR_ROLES]
    newest = [words for number, words in said if number > answered]
    before = [words for number, words in said if number < answered and messages[number][0] != "assistant"]
    older = "\n".join(before[:-_SINGLE])
    return Conversation(
        system="\n".join([words for role, words in messages if role in OPERATOR_ROLES]),
        newest="\n".join(newest),
        earlier=tuple([one for one in (older, *before[-_SINGLE:]) if one]),
    )

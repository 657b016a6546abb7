"""Letters that look Latin, and the few words that spaced-out attacks are made of."""

from functools import lru_cache

# Cyrillic, Greek, Armenian, phonetic and currency letters, and below each the Latin
# letter that it passes for.
_FOREIGN = "аьвсԁеёһніїјкӏмпорԛгѕтуѵԝхиязбαβϲδεєƒηικμνορσςτυχωγɑɡıɩʟɴʀꜱᴀʙᴄᴅᴇɢʜɪᴊᴋᴍᴏᴘᴛᴜᴠᴡʏᴢոսօհցզեյƨøđłħ€£¡"
_LATIN = "abbcdeehhiijklmnopqrstyvwxnr36abcdeefnikmvopostuxwyagiilnrsabcdeghijkmoptuvwyznuohgqtjsodlheli"
LETTERS: dict[str, str] = dict(zip(_FOREIGN, _LATIN, strict=True))

_KNOWN = (
    "a about above act admin affiche all and any api are as before bypass consignes content data delete "
    "developer disregard do everything "
    "execute filter filters follow forget from give guidelines hidden how i ignore in initial instruction "
    "instructions is it jailbreak key "
    "keys les like list make me mes mode montre my new no not now obey of on only or oublie output "
    "override password passwords precedentes "
    "pretend previous print prior prompt regles repeat restrictions reveal revele rule rules run safety "
    "say secret secrets shell show system "
    "systeme tell text that the them these this to token ton toutes unrestricted use user what with "
    "without write you your"
)
_WORDS = frozenset(_KNOWN.split())
_LONGEST = max(map(len, _WORDS))


@lru_cache(maxsize=512)
def segment_words(letters: str) -> str:
    """`letters` cut into known words with as few unknown letters as possible:
    'ignoreallrules' gives 'ignore all rules'. Unknown stretches stay together.
    """
    best: list[tuple[int, int, tuple[str, ...]]] = [(0, 0, ())]
    for end in range(1, len(letters) + 1):
        unknown, words, path = best[end - 1]
        choice = (unknown + 1, words + 1, (*path, letters[end - 1]))
        for start in range(max(0, end - _LONGEST), end - 1):
            if letters[start:end] in _WORDS:
                before = best[start]
                choice = min(choice, (before[0], before[1] + 1, (*before[2], letters[start:end])))
        best.append(choice)
    unknown, _, path = best[-1]
    return letters if unknown * 3 > len(letters) else " ".join(path)

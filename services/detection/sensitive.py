"""Personal data and secrets together, each stretch of text claimed once."""

from services.detection.finding import Finding, resolve_overlaps
from services.detection.passage import Passage
from services.detection.personal_data import recognise_pii
from services.detection.secrets.recogniser import recognise_secrets


def find_sensitive(text: str, *, with_names: bool = False, doubtful: bool = False) -> tuple[Finding, ...]:
    """Personal data and secrets in a text, sorted by position and free of overlaps.
    Where `doubtful`, also what looks like a made-up secret (`ghp_1234567890…`).

    Pure and linear in the text: it never raises, whatever the string holds.
    """
    passage = Passage(text, doubtful=doubtful)
    return resolve_overlaps([*recognise_secrets(passage), *recognise_pii(passage, with_names=with_names)])


def find_to_keep_out(text: str) -> tuple[Finding, ...]:
    """What is masked in a text that is kept. That a value looks made up spares an alarm;
    nobody knows that it is, so it is not kept either.
    """
    return find_sensitive(text, doubtful=True)

"""Personal data: what is recognised, and what only looks like it."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.detection.finding import Finding, resolve_overlaps
from services.detection.personal_data import find_pii
from services.detection.personal_data.bank import is_iban
from services.detection.personal_data.numbers import luhn, nir_key
from services.detection.sensitive import find_sensitive

RECOGNISED = [
    ("EMAIL_ADDRESS", "Contact: first.last+tag@sub.example.co.uk.", "first.last+tag@sub.example.co.uk"),
    ("EMAIL_ADDRESS", "écrire à émile@société.fr", "émile@société.fr"),
    ("EMAIL_ADDRESS", "mailto:o'brien@irish.ie", "o'brien@irish.ie"),
    ("EMAIL_ADDRESS", "john [at] example [dot] com", "john [at] example [dot] com"),
    ("PHONE_NUMBER", "FR 06 12 34 56 78", "06 12 34 56 78"),
    ("PHONE_NUMBER", "FR 0033 6 12 34 56 78", "0033 6 12 34 56 78"),
    ("PHONE_NUMBER", "FR +33 (0)6 12 34 56 78", "+33 (0)6 12 34 56 78"),
    ("PHONE_NUMBER", "US (212) 555-0147 ext. 12", "(212) 555-0147 ext. 12"),
    ("PHONE_NUMBER", "CA 514.555.0123 à Montréal", "514.555.0123"),
    ("PHONE_NUMBER", "UK 020 7946 0958", "020 7946 0958"),
    ("PHONE_NUMBER", "UK 07911 123456", "07911 123456"),
    ("PHONE_NUMBER", "DE: Tel.: +49 (0) 89 123456-78", "+49 (0) 89 123456-78"),
    ("PHONE_NUMBER", "Handynummer: 0151 23456789", "0151 23456789"),
    ("PHONE_NUMBER", "Mi teléfono es el 612 345 678", "612 345 678"),
    ("PHONE_NUMBER", "Il mio numero è 338 1234567", "338 1234567"),
    ("PHONE_NUMBER", "Bruxelles 02 555 12 12", "02 555 12 12"),
    ("PHONE_NUMBER", "Zürich 044 668 18 00", "044 668 18 00"),
    ("CREDIT_CARD", "Visa 4539-1488-0343-6467 exp 09/27", "4539-1488-0343-6467"),
    ("CREDIT_CARD", "AMEX: 3782 822463 10005", "3782 822463 10005"),
    ("CREDIT_CARD", "carte 5555555555554444", "5555555555554444"),
    ("CREDIT_CARD", "maestro 6304000000000000", "6304000000000000"),
    ("IBAN_CODE", "DE89 3704 0044 0532 0130 00", "DE89 3704 0044 0532 0130 00"),
    ("IBAN_CODE", "es9121000418450200051332", "es9121000418450200051332"),
    ("IBAN_CODE", "IBAN:FR1420041010050500013M02606", "FR1420041010050500013M02606"),
    ("US_SSN", "my social is 219-09-4321", "219-09-4321"),
    ("US_SSN", "SSN 123-45-6789", "123-45-6789"),
    ("FR_NIR", "NIR 2 69 05 49 588 157 80", "2 69 05 49 588 157 80"),
    ("FR_NIR", "n° de sécu : 269054958815780", "269054958815780"),
    ("FR_SIREN", "SIREN 732 829 320", "732 829 320"),
    ("FR_SIREN", "TVA FR44732829320", "732829320"),
    ("FR_SIRET", "SIRET : 732 829 320 00074", "732 829 320 00074"),
    ("FR_SIRET", "La Poste, siret 35600000049837", "35600000049837"),
    ("UK_NINO", "ref AB 12 34 56 C", "AB 12 34 56 C"),
    ("UK_NINO", "my nino is jg103759a", "jg103759a"),
    ("IP_ADDRESS", "ssh 10.0.0.12:22", "10.0.0.12"),
    ("IP_ADDRESS", "[fe80::1ff:fe23:4567:890a]", "fe80::1ff:fe23:4567:890a"),
    ("IP_ADDRESS", "::ffff:91.198.2.128", "::ffff:91.198.2.128"),
    ("MAC_ADDRESS", "00-1B-44-11-3A-B7", "00-1B-44-11-3A-B7"),
    ("MAC_ADDRESS", "001b.4411.3ab7", "001b.4411.3ab7"),
    ("DATE_OF_BIRTH", "née le 3 mai 1985 à Lyon", "3 mai 1985"),
    ("DATE_OF_BIRTH", "Born on March 5th, 1990 in Leeds", "March 5th, 1990"),
    ("DATE_OF_BIRTH", "Geburtsdatum: 12.03.1985", "12.03.1985"),
    ("DATE_OF_BIRTH", "12/03/1985 is my date of birth", "12/03/1985"),
    (
        "ADDRESS",
        "J'habite au 12 bis rue de la République, 69002 Lyon.",
        "12 bis rue de la République, 69002 Lyon",
    ),
    ("ADDRESS", "j'habite 12 rue de la paix, 75002 paris", "12 rue de la paix, 75002 paris"),
    ("ADDRESS", "14 allée des Tilleuls\n31000 Toulouse", "14 allée des Tilleuls\n31000 Toulouse"),
    ("ADDRESS", "I live at 221B Baker Street, London NW1 6XE.", "221B Baker Street, London NW1 6XE"),
    ("ADDRESS", "ship to 350 5th Ave Apt 4B, New York, NY 10118", "350 5th Ave Apt 4B, New York, NY 10118"),
    ("ADDRESS", "Hauptstraße 12, 10115 Berlin", "Hauptstraße 12, 10115 Berlin"),
    ("ADDRESS", "Calle Mayor 5, 28013 Madrid", "Calle Mayor 5, 28013 Madrid"),
    ("ADDRESS", "PSC 3597, Box 6149, APO AP 07383", "PSC 3597, Box 6149, APO AP 07383"),
]
HARMLESS = [
    "The meeting is on 2024-03-15 at 10:30.",
    "version 1.2.3.4 released",
    "Invoice 2024-0001234567, total 1,234,567.89 EUR",
    "ISBN 978-3-16-148410-0",
    "commande 0612345678 expédiée",
    "order 4111111111111111 shipped",
    "La référence produit est 8152149467987047, pas une carte.",
    "uuid 123e4567-e89b-12d3-a456-426614174000",
    "sha 9fceb02d0ae598e95dc970b74767f19372d61af8",
    "latitude 48.856614, longitude 2.3522219",
    "1 2 3 4 5 6 7 8 9 10 11 12",
    "std::vector<int> a::b c::d at 12:34:56",
    "part no 123-456-7890",
    "The population is 67 413 000 inhabitants",
    "le cours de la Bourse a pris 12 points",
    "In 1995 Baker Street was quiet; during 2017, Allstate Insurance Group grew.",
    "she was born to win in 2020, and 12 people stood on the street",
    "icon@2x.png and git@github.com:foo/bar.git and @types/node@20.1.0",
    "x[0::2] and y[1::2] and frame.loc[::10], [-0.9893633723258972, -2.4662880897521973]",
    'ObjectIdentifier("2.5.29.35"), Version=1.0.0.0',
    "Math. Monthly 77, 259-264 1970, ISSN 0123-4567, Boston, MA 02110-1301",
    "for digit in '0123456789': pass",
    "SIREN 732 829 321 and IBAN FR1420041010050500013M02607 fail their checks",
]


@pytest.mark.parametrize(("kind", "text", "value"), RECOGNISED)
def test_pii_known_form_is_found_at_its_place(kind: str, text: str, value: str) -> None:
    """Each form is found with its type, from its first character to its last."""
    assert [(f.type, text[f.start : f.end]) for f in find_sensitive(text)] == [(kind, value)]


@pytest.mark.parametrize("text", HARMLESS)
def test_pii_look_alike_is_left_alone(text: str) -> None:
    """Numbers and words that only look like personal data are not reported."""
    assert find_sensitive(text) == ()


def test_pii_corsican_nir_counts_2a_as_19() -> None:
    """The key of a number from Corsica is computed with its letters replaced (INSEE)."""
    key = nir_key("185052A004123")
    text = f"NIR 1 85 05 2A 004 123 {key:02d}"
    assert key == 97 - 1850519004123 % 97
    assert [(f.type, text[f.start : f.end]) for f in find_pii(text)] == [("FR_NIR", text[4:])]


def test_pii_names_only_when_asked() -> None:
    """Names are found in telling contexts, and only on request."""
    text = "Bonjour, je m'appelle Anne-Marie de La Tour."
    assert find_pii(text) == ()
    assert [(f.type, text[f.start : f.end]) for f in find_pii(text, with_names=True)] == [
        ("PERSON", "Anne-Marie de La Tour")
    ]


def test_pii_two_numbers_in_a_row_are_two_findings() -> None:
    """Numbers that nothing but a separator parts are told apart."""
    text = "06 12 34 56 78 / 07 98 76 54 32"
    assert [text[f.start : f.end] for f in find_pii(text)] == ["06 12 34 56 78", "07 98 76 54 32"]


@given(st.text("0123456789", min_size=11, max_size=18), st.integers(0, 17), st.integers(1, 9))
def test_luhn_one_digit_changed_is_noticed(digits: str, place: int, change: int) -> None:
    """The Luhn check accepts one check digit of ten, and notices every change of one
    digit.
    """
    valid = [digits + str(check) for check in range(10) if luhn(digits + str(check))]
    assert len(valid) == 1
    place %= len(digits)
    changed = str((int(digits[place]) + change) % 10)
    assert not luhn(valid[0][:place] + changed + valid[0][place + 1 :])


@pytest.mark.parametrize(
    "value",
    ["MT84MALT011000012345MTLCAST001S", "GB82 WEST 1234 5698 7654 32", "FR14-2004-1010-0505-0001-3M02-606"],
)
def test_iban_of_the_registry_is_valid_and_its_neighbour_not(value: str) -> None:
    """The SWIFT registry's examples pass; with their check digits changed they do not."""
    assert is_iban(value)
    assert not is_iban(value[:2] + f"{(int(value[2:4]) + 1) % 97:02d}" + value[4:])


@given(
    st.lists(
        st.builds(
            Finding,
            st.integers(0, 30),
            st.integers(31, 60),
            st.sampled_from("AB"),
            st.sampled_from((0.5, 0.9)),
            st.just(""),
        ),
        max_size=8,
    ),
    st.randoms(),
)
def test_resolve_overlaps_in_any_order_gives_the_same_disjoint_findings(
    findings: list[Finding], chance: object
) -> None:
    """Order does not matter; nothing overlaps; what is left out overlaps something at
    least as certain.
    """
    kept = resolve_overlaps(findings)
    shuffled = list(findings)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert resolve_overlaps(shuffled) == kept
    assert all(a.end <= b.start for a, b in pairwise(kept))
    for finding in findings:
        assert any(k.start < finding.end and finding.start < k.end and k.score >= finding.score for k in kept)

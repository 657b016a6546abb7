"""Numbering plans: Google's metadata (phonenumbers).

They are used directly: `phonenumbers.parse` costs 100 µs and more a candidate, a
compiled pattern of the same metadata 1 µs, which is what a bound of half a microsecond
a character needs.
"""

import re
from functools import lru_cache

from phonenumbers import PhoneMetadata

_TRUNK_ZERO = ("FR", "GB", "DE", "BE", "CH")  # a national number begins with 0, which is no part of it
_NO_TRUNK = ("ES", "IT")
_AMERICAN = ("US", "CA")


def region_of(digits: str) -> str | None:
    """The first of the nine countries in whose plan national digits are."""
    if digits[0] == "0":
        found = _plans(_TRUNK_ZERO).fullmatch(digits, 1) or _plans(_NO_TRUNK).fullmatch(digits)
    else:
        found = _plans(_AMERICAN).fullmatch(
            digits, 1 if len(digits) == 11 and digits[0] == "1" else 0
        ) or _plans(_NO_TRUNK).fullmatch(digits)
    return found.lastgroup if found else None


@lru_cache(maxsize=8)
def _plans(regions: tuple[str, ...]) -> re.Pattern[str]:
    """The plans of several regions in one pattern, each as a group with the region's
    name.
    """
    return re.compile(
        "|".join(f"(?P<{region}>{plan.pattern})" for region in regions if (plan := _plan(region)) is not None)
    )


def in_plan(region: str, national: str) -> bool:
    """Whether digits without country code are in a region's plan."""
    plan = _plan(region)
    return plan is not None and plan.fullmatch(national) is not None


@lru_cache(maxsize=512)
def _metadata(region: str) -> PhoneMetadata | None:
    return PhoneMetadata.metadata_for_region(region, None)


@lru_cache(maxsize=512)
def _plan(region: str) -> re.Pattern[str] | None:
    """All kinds of number of a region's plan in one pattern, None where the library
    knows none.
    """
    metadata = _metadata(region)
    if metadata is None:
        return None
    kinds = (
        "fixed_line",
        "mobile",
        "toll_free",
        "premium_rate",
        "shared_cost",
        "voip",
        "personal_number",
        "pager",
        "uan",
        "voicemail",
    )
    patterns = {
        kind.national_number_pattern
        for name in kinds
        if (kind := getattr(metadata, name)) is not None and kind.national_number_pattern
    }
    return re.compile("|".join(sorted(patterns))) if patterns else None


@lru_cache(maxsize=512)
def lengths_of(region: str) -> frozenset[int]:
    """Lengths that a national number of the region can have."""
    metadata = _metadata(region)
    return (
        frozenset(metadata.general_desc.possible_length)
        if metadata is not None and metadata.general_desc is not None
        else frozenset()
    )

"""The store's address, before anything is connected."""

import pytest

from services.common.errors import ConfigError
from services.common.store import Store


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://u:secret@host:8123", "must look like"),
        ("http://u:secret@host:8123/", "must look like"),
        ("clickhouse://u:secret@host:9000/tocsin", "must look like"),
        ("https://u:secret@host/clickhouse/tocsin", "behind a path prefix"),
        ("https://u:secret@host/a/b/c/", "behind a path prefix"),
    ],
)
def test_store_with_an_address_it_cannot_use_says_what_to_change(url: str, told: str) -> None:
    """One sentence, without the password."""
    with pytest.raises(ConfigError, match=told) as refused:
        Store(url, name="test")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["http://u:p@host/tocsin", "https://u:p@host:8443/tocsin/"])
def test_store_with_one_database_is_accepted(url: str) -> None:
    """With or without a port or a slash at the end."""
    assert "p@" not in Store(url, name="test").address

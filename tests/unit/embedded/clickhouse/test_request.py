"""What is read off an HTTP request."""

import asyncio
import base64
from collections.abc import MutableMapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.embedded.clickhouse.errors import ClientGoneError, StoreError
from services.embedded.clickhouse.exchange import Statement, read_statement
from services.embedded.clickhouse.http.request import Body, Request


def _request(query: str = "", **headers: str) -> Request:
    pairs = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return Request.of_scope({"method": "POST", "path": "/", "query_string": query.encode(), "headers": pairs})


def _body(request: Request, *pieces: bytes, hangs_up: bool = False) -> Body:
    messages: list[MutableMapping[str, Any]] = [
        {"type": "http.request", "body": piece, "more_body": True} for piece in pieces
    ]
    messages.append(
        {"type": "http.disconnect"} if hangs_up else {"type": "http.request", "body": b"", "more_body": False}
    )

    async def receive() -> MutableMapping[str, Any]:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop(0)

    return Body(request, receive, idle_timeout_s=5)


def test_of_scope_parts_parameters_settings_and_the_interface() -> None:
    """What is neither the interface's nor a parameter is a setting."""
    request = _request(
        "query=SELECT+1&database=d&param_x=%27a%27&max_threads=2&param_y=", X_ClickHouse_Format="CSV"
    )
    assert request.interface == {"query": "SELECT 1", "database": "d", "default_format": "CSV"}
    assert request.parameters == {"x": "'a'", "y": ""}
    assert request.settings == {"max_threads": "2"}
    assert request.query_id


@pytest.mark.parametrize("query_id", ["a b", "a%0d%0aX: y", "x" * 201, "%C3%A9"])
def test_of_scope_with_an_impossible_query_id_is_refused(query_id: str) -> None:
    """It would go into a header."""
    with pytest.raises(StoreError):
        _request(f"query_id={query_id}")


def test_credentials_come_from_any_of_the_three_places() -> None:
    """Basic, ClickHouse's headers, the URL."""
    basic = base64.b64encode(b"admin:a:b").decode()
    assert _request(authorization=f"Basic {basic}").credentials() == ("admin", "a:b")
    assert _request(X_ClickHouse_User="admin", X_ClickHouse_Key="k").credentials() == ("admin", "k")
    assert _request("user=admin&password=p").credentials() == ("admin", "p")
    assert _request().credentials() == ("default", "")


@pytest.mark.parametrize("value", ["Basic !!!", "Basic /w==", "Bearer x"])
def test_credentials_that_cannot_be_read_are_refused(value: str) -> None:
    """Nobody comes in by a header that means nothing."""
    with pytest.raises(StoreError) as refusal:
        _request(authorization=value).credentials()
    assert refusal.value.status == 401


@given(
    st.dictionaries(
        st.from_regex(r"param_[a-z]{1,8}", fullmatch=True),
        st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=50),
        max_size=4,
    )
)
def test_read_form_takes_parameters_as_they_are(values: dict[str, str]) -> None:
    """Any text survives the multipart body: line ends, quotes, dashes, other scripts."""
    request = _request(content_type="multipart/form-data; boundary=xx-yy-123")
    parts = [
        f'--xx-yy-123\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in {**values, "query": "SELECT\r\n1 -- é\n"}.items()
    ]
    request.read_form(("".join(parts) + "--xx-yy-123--\r\n").encode())
    assert request.parameters == {name.removeprefix("param_"): value for name, value in values.items()}
    assert request.interface["query"] == "SELECT\r\n1 -- é\n"


def test_read_form_with_an_external_table_is_refused() -> None:
    """It is not supported, and says so."""
    request = _request(content_type="multipart/form-data; boundary=b")
    part = b'--b\r\nContent-Disposition: form-data; name="t"; filename="t"\r\n\r\n1\r\n--b--\r\n'
    with pytest.raises(StoreError, match="external table"):
        request.read_form(part)


async def _read(request: Request, body: Body) -> Statement:
    """The statement, of at most 1,000 bytes."""
    statement = Statement()
    await read_statement(request, body, 1000, into=statement)
    return statement


async def test_read_statement_of_an_insert_leaves_its_data_in_the_body() -> None:
    """What came with the statement is handed over; the rest stays where it is."""
    request = _request()
    body = _body(request, b"INSERT INTO t FOR", b"MAT CSV\n1\n", b"2\n")
    statement = await _read(request, body)
    assert (statement.sql, statement.first_data) == (b"INSERT INTO t FORMAT CSV\n", b"1\n")
    assert await body.next() == b"2\n"
    assert await body.next() is None


async def test_read_statement_from_the_url_takes_the_body_as_data() -> None:
    """Not a byte of the body belongs to the statement, even if it looks like a
    separator.
    """
    request = _request("query=INSERT+INTO+t+FORMAT+RowBinary%0A")
    statement = await _read(request, _body(request, b"\n\x00"))
    assert statement.insert is not None
    assert statement.insert.format == "RowBinary"
    assert statement.first_data == b""


async def test_read_statement_of_short_values_keeps_them_in_the_statement() -> None:
    """So that they may hold expressions; long ones are data."""
    request = _request()
    short = await _read(request, _body(request, b"INSERT INTO t VALUES (1", b" + 1)"))
    assert (short.sql, short.insert) == (b"INSERT INTO t VALUES (1 + 1)", None)
    long = await _read(request, _body(request, b"INSERT INTO t VALUES ", b"(1)," * 500))
    assert long.insert is not None
    assert long.insert.format == "Values"


async def test_read_statement_that_is_too_long_is_refused() -> None:
    """Memory for statements is bounded."""
    request = _request()
    with pytest.raises(StoreError, match="max_query_size"):
        await _read(request, _body(request, b"SELECT ", b"1," * 1000))


async def test_body_of_a_client_that_hangs_up_is_no_whole_body() -> None:
    """Half an INSERT is not taken for all of it."""
    request = _request()
    body = _body(request, b"INSERT INTO t FORMAT CSV\n1\n", hangs_up=True)
    await _read(request, body)
    with pytest.raises(ClientGoneError):
        await body.next()

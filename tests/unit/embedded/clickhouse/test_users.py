"""The users file and who it lets in."""

import json
from pathlib import Path

import pytest

from services.common.errors import ConfigError
from services.embedded.clickhouse.users import Role, Users, create_users_file


def test_create_users_file_makes_one_user_per_role_and_keeps_no_password(tmp_path: Path) -> None:
    """The passwords are returned, and in the file there are only hashes; nobody else
    may read it.
    """
    path = tmp_path / "users.json"
    passwords = create_users_file(path)
    assert set(passwords) == {"admin", "service", "analyst", "gateway"}
    assert len(set(passwords.values())) == 4
    assert path.stat().st_mode & 0o777 == 0o600
    assert not any(password in path.read_text() for password in passwords.values())


def test_create_users_file_that_exists_is_left_alone(tmp_path: Path) -> None:
    """Passwords that somebody has do not change under them."""
    create_users_file(tmp_path / "users.json")
    before = (tmp_path / "users.json").read_text()
    with pytest.raises(FileExistsError):
        create_users_file(tmp_path / "users.json")
    assert (tmp_path / "users.json").read_text() == before


def test_create_users_file_with_known_passwords_keeps_them(tmp_path: Path) -> None:
    """A user that is new gets one of its own; nobody else's changes."""
    known = {"admin": "a", "service": "s", "analyst": "somebody has noted it"}
    passwords = create_users_file(tmp_path / "users.json", known)
    assert passwords == known | {"gateway": passwords["gateway"]}
    assert len(passwords["gateway"]) > 30
    users = Users.load(tmp_path / "users.json")
    assert users.authenticate("analyst", known["analyst"]) is not None


def test_authenticate_takes_the_right_password_only(tmp_path: Path) -> None:
    """Neither another user's password, nor an empty one, nor an unknown name."""
    passwords = create_users_file(tmp_path / "users.json")
    users = Users.load(tmp_path / "users.json")
    user = users.authenticate("analyst", passwords["analyst"])
    assert user is not None
    assert user.role is Role.ANALYST
    for name, password in (
        ("analyst", passwords["admin"]),
        ("admin", ""),
        ("nobody", passwords["admin"]),
        ("", ""),
        ("admin", "\ud800"),
    ):
        assert users.authenticate(name, password) is None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"users": [{"name": "a"}]}',
        '{"users": [{"name": "a", "role": "god", "salt": "", "sha256": ""}]}',
        "\x00",
    ],
)
def test_load_of_a_malformed_file_says_how_to_mend_it(tmp_path: Path, content: str) -> None:
    """Whatever is wrong with it, the message names the file."""
    path = tmp_path / "users.json"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=r"users\.json"):
        Users.load(path)


def test_load_of_a_missing_or_open_file_is_refused(tmp_path: Path) -> None:
    """A file that others can read is no place for hashes."""
    path = tmp_path / "users.json"
    with pytest.raises(ConfigError, match="cannot be read"):
        Users.load(path)
    path.write_text(json.dumps({"users": []}))
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="make it 600"):
        Users.load(path)

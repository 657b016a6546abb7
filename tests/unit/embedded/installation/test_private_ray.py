"""The folder and the environment of an installation's own Ray."""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.common.errors import ConfigError
from services.embedded.installation.home import Home
from services.embedded.installation.private_ray import clear_ray_folder, ray_environment, ray_folder

_LONGEST_BELOW = len("/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Home]:
    """A home whose path is too long for a socket."""
    home = Home(tmp_path / ("deep" * 20) / "home")
    home.create()
    yield home
    shutil.rmtree(ray_folder(home).parent, ignore_errors=True)


def test_ray_folder_leaves_room_for_a_socket_wherever_the_home_is(deep: Home) -> None:
    """A Unix socket's path has 107 bytes at most."""
    for home in (deep, Home(Path("/h/.tocsin")), Home(Path("/home/é/.tocsin"))):
        assert len(os.fsencode(ray_folder(home))) + _LONGEST_BELOW <= 107
        assert str(ray_folder(home)).isascii()


def test_ray_folders_of_two_homes_differ(deep: Home) -> None:
    """Two installations have no file in common."""
    assert ray_folder(deep) != ray_folder(Home(deep.root.parent / "other"))
    assert ray_folder(Home(Path("/a/.tocsin"))) == Path("/a/.tocsin/ray")


def test_clear_ray_folder_removes_old_sessions_and_lets_nobody_else_in(deep: Home) -> None:
    """What earlier runs left is gone, and the folder above is closed, also if it was
    open.
    """
    folder = ray_folder(deep)
    (folder / "session_old").mkdir(parents=True)
    folder.parent.chmod(0o777)
    clear_ray_folder(deep)
    assert not folder.exists()
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700


def test_clear_ray_folder_where_somebody_else_was_first_is_refused(deep: Home, tmp_path: Path) -> None:
    """A link in /tmp would lead Ray's sockets to whoever made it."""
    ray_folder(deep).parent.symlink_to(tmp_path)
    try:
        with pytest.raises(ConfigError, match="set TOCSIN_HOME"):
            clear_ray_folder(deep)
    finally:
        ray_folder(deep).parent.unlink()


def test_ray_environment_of_a_users_cluster_has_their_settings_and_no_token_of_ours(deep: Home) -> None:
    """`TOCSIN_RAY_ADDRESS` joins another Ray, which has a token of its own."""
    user = {"TOCSIN_RAY_ADDRESS": "ray://r:1", "RAY_AUTH_TOKEN": "theirs", "RAY_ADDRESS": "auto"}
    assert ray_environment(deep, user) == {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_TOKEN": "theirs"}
    own = ray_environment(deep, {"RAY_AUTH_TOKEN": "theirs"})
    assert own["RAY_AUTH_TOKEN"] == deep.secrets()["ray_token"]

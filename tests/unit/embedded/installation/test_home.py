"""The installation's folder: who may read what, the lock, and what survives."""

import os
import subprocess
from pathlib import Path

import pytest

from services.common.errors import ConfigError
from services.embedded.installation.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A new home."""
    made = Home(tmp_path / "home")
    made.create()
    return made


def test_home_without_an_argument_is_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """TOCSIN_HOME, else .tocsin in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TOCSIN_HOME", raising=False)
    assert Home().root == tmp_path / ".tocsin"
    monkeypatch.setenv("TOCSIN_HOME", str(tmp_path / "elsewhere"))
    assert Home().root == tmp_path / "elsewhere"


def test_secrets_drawn_once_stay_the_same_and_private(home: Home) -> None:
    """Others could neither check stored API keys nor find pseudonyms again."""
    first = home.secrets()
    assert home.secrets() == first
    assert len(set(first.values())) == 4
    assert (home.root / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_secrets_when_others_are_added_keeps_the_drawn_ones(home: Home) -> None:
    """Adding the first key changes nothing else."""
    first = home.secrets()
    home.keep_secrets(first | {"first_key": "k"})
    assert home.secrets() == first | {"first_key": "k"}


def test_connection_file_when_sourced_exports_every_value_exactly(home: Home) -> None:
    """Values with quotes and dollars arrive as they are, and only the owner may read
    the file.
    """
    home.write_connection({"OPENAI_API_KEY": "it's $HOME", "TOCSIN_KAFKA_URL": "127.0.0.1:1"})
    script = f'. "{home.connection_file}" && sh -c \'printf "%s|%s" "$OPENAI_API_KEY" "$TOCSIN_KAFKA_URL"\''
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, timeout=10)
    assert done.stdout == "it's $HOME|127.0.0.1:1"
    assert home.connection_file.stat().st_mode & 0o777 == 0o600


def test_lock_while_one_holds_it_is_refused_to_another(home: Home) -> None:
    """One supervisor a home; its end lets the next one in."""
    held = home.lock()
    assert held is not None
    assert home.lock() is None
    assert home.is_locked()
    held.close()
    assert not home.is_locked()


def test_state_never_written_is_empty(home: Home) -> None:
    """A new home has no past."""
    assert home.read_state() == {}
    home.write_state({"pid": 1})
    assert home.read_state() == {"pid": 1}


def test_connection_file_read_back_gives_every_value_exactly(home: Home) -> None:
    """What was written is what is read, quotes and spaces included."""
    values = {"OPENAI_API_KEY": "tsn_key", "TOCSIN_ANALYST_PASSWORD": 'it\'s "odd" = $this'}
    home.write_connection(values)
    assert home.read_connection() == values


def test_home_that_was_open_to_others_is_closed(tmp_path: Path) -> None:
    """Folders that were there before are no exception."""
    home = Home(tmp_path / "home")
    for folder in (home.root, home.logs, home.kafka, home.store):
        folder.mkdir(mode=0o755)
        folder.chmod(0o755)
    home.create()
    modes = {folder.stat().st_mode & 0o777 for folder in (home.root, home.logs, home.kafka, home.store)}
    assert modes == {0o700}


def test_home_that_is_a_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """The message names the setting."""
    (tmp_path / "home").write_text("")
    with pytest.raises(ConfigError, match="set TOCSIN_HOME"):
        Home(tmp_path / "home").create()


def test_home_among_other_peoples_things_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    """/tmp, say: closing it would lock everybody out."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    with pytest.raises(ConfigError, match="holds other things"):
        Home(shared).create()
    assert shared.stat().st_mode & 0o7777 == 0o1777


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_home_that_may_not_be_written_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """A folder of somebody else's, or on a read-only disk."""
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(ConfigError, match="Permission denied"):
        Home(tmp_path / "closed" / "home").create()


@pytest.mark.parametrize("name", ["back\\slash", "line\nfeed", "a<b", 'quo"te', "a&b"])
def test_home_with_a_character_that_the_store_cannot_have_is_refused(tmp_path: Path, name: str) -> None:
    """One sentence that names it, and no folder."""
    with pytest.raises(ConfigError, match="set TOCSIN_HOME to a folder without"):
        Home(tmp_path / name).create()
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", ["with space", "com,ma", "é", "it's", "$HOME"])
def test_home_with_an_unusual_name_is_taken(tmp_path: Path, name: str) -> None:
    """Spaces, commas and accents are no reason to refuse."""
    Home(tmp_path / name).create()
    assert (tmp_path / name / "kafka").is_dir()

"""Kafka's jars: checked, whole or absent, fetched once.

The fetch itself is a fake that writes files.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import pytest
import requests

from services.common.errors import ConfigError
from services.embedded.kafka.jars import Jar, default_cache, ensure_jars, read_lock


class Repository:
    """Serves each artifact's name as its content; can be made to serve something else
    or to be away.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.wrong: set[str] = set()
        self.away = False
        self.failures = 0
        self._lock = Lock()

    def fetch(self, jar: Jar, folder: Path) -> Path:
        """Writes the jar into the folder."""
        with self._lock:
            self.asked.append(jar.artifact)
            failing = self.away or self.failures > 0
            self.failures -= 1
        path = folder / "download"
        path.write_bytes(
            b"half" if failing else b"wrong" if jar.artifact in self.wrong else jar.artifact.encode()
        )
        if failing:
            raise requests.ConnectionError("no route to host")
        return path


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """A lock of three jars."""
    path = tmp_path / "jgo.lock.toml"
    entry = '[[dependencies]]\ngroupId = "org.example"\nartifactId = "{}"\nversion = "1.2"\nsha256 = "{}"\n'
    path.write_text(
        "".join(entry.format(name, hashlib.sha256(name.encode()).hexdigest()) for name in ("a", "b", "c"))
    )
    return path


def test_ensure_jars_on_a_new_machine_fetches_and_checks_each(lock: Path, tmp_path: Path) -> None:
    """All jars of the lock are there, in its order."""
    repository = Repository()
    jars = ensure_jars(tmp_path / "cache", lock=lock, fetch=repository.fetch)
    assert [jar.name for jar in jars] == ["a-1.2.jar", "b-1.2.jar", "c-1.2.jar"]
    assert sorted(repository.asked) == ["a", "b", "c"]


def test_ensure_jars_the_second_time_fetches_nothing(lock: Path, tmp_path: Path) -> None:
    """A cache that is whole is used as it is."""
    ensure_jars(tmp_path / "cache", lock=lock, fetch=Repository().fetch)
    repository = Repository()
    ensure_jars(tmp_path / "cache", lock=lock, fetch=repository.fetch)
    assert repository.asked == []


def test_ensure_jars_from_several_at_once_fetches_once(lock: Path, tmp_path: Path) -> None:
    """One fetches, the others wait for it."""
    repository = Repository()
    with ThreadPoolExecutor(4) as pool:
        results = list(
            pool.map(lambda _: ensure_jars(tmp_path / "cache", lock=lock, fetch=repository.fetch), range(4))
        )
    assert sorted(repository.asked) == ["a", "b", "c"]
    assert all(result == results[0] for result in results)


def test_ensure_jars_when_the_repository_serves_another_file_refuses_it(lock: Path, tmp_path: Path) -> None:
    """A jar that is not the locked one is refused, and nothing stays in the cache."""
    repository = Repository()
    repository.wrong = {"b"}
    with pytest.raises(ConfigError, match=rf"not the jar.*expected {hashlib.sha256(b'b').hexdigest()}"):
        ensure_jars(tmp_path / "cache", lock=lock, fetch=repository.fetch)
    assert not (tmp_path / "cache" / "jars").exists()


def test_ensure_jars_when_a_kept_jar_was_changed_refuses_it(lock: Path, tmp_path: Path) -> None:
    """Every start looks again: the cache may have been written to."""
    [first, *_] = ensure_jars(tmp_path / "cache", lock=lock, fetch=Repository().fetch)
    first.write_bytes(b"evil")
    with pytest.raises(ConfigError, match=r"a-1\.2\.jar is not the jar"):
        ensure_jars(tmp_path / "cache", lock=lock, fetch=Repository().fetch)


def test_ensure_jars_when_a_download_breaks_off_tries_again_from_nothing(lock: Path, tmp_path: Path) -> None:
    """Half a file of a failed attempt is not taken for the whole."""
    repository = Repository()
    repository.failures = 2
    assert len(ensure_jars(tmp_path / "cache", lock=lock, fetch=repository.fetch)) == 3
    assert len(repository.asked) == 5


def test_ensure_jars_without_a_network_names_both_ways_out_and_leaves_nothing(
    lock: Path, tmp_path: Path
) -> None:
    """The one message says what to set; the next start begins afresh."""
    repository = Repository()
    repository.away = True
    with pytest.raises(
        ConfigError, match=r"(?s)can't be fetched.*no route to host.*TOCSIN_KAFKA_URL=host:port.*KAFKA_HOME="
    ) as caught:
        ensure_jars(tmp_path / "cache", lock=lock, fetch=repository.fetch)
    assert str(caught.value).count("KAFKA_HOME") == 1
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["fetch.lock"]


def test_default_cache_lies_outside_the_checkout_and_changes_with_the_lock(
    lock: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each version of the lock has a folder of its own under the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    before = default_cache(lock)
    lock.write_text(lock.read_text().replace("sha256 = ", 'sha256 = "0" #'))
    assert before.parent == tmp_path / "xdg" / "tocsin"
    assert before.name.startswith("kafka-1.2-")
    assert default_cache(lock) != before


def test_committed_lock_names_kafka_first_and_every_jar_with_its_sum() -> None:
    """The cache's name and the class path rely on it."""
    jars = read_lock()
    assert (jars[0].artifact, jars[0].version) == ("kafka_2.13", "4.3.1")
    assert all(len(jar.sha256) == 64 for jar in jars)
    assert len({jar.filename for jar in jars}) == len(jars)


def test_cache_that_cannot_be_written_is_told_by_its_setting(tmp_path: Path) -> None:
    """A file where the folder should be, or somebody else's folder."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="set XDG_CACHE_HOME"):
        ensure_jars(tmp_path / "file" / "cache")

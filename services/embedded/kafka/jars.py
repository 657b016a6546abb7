"""Apache Kafka's jars: fetched once a machine, each one checked against the committed
lock.

The lock (`infra/kafka/jgo.lock.toml`, written by jgo) names every jar with its version
and sha256. jgo fetches by those coordinates but does not compare the sums, so this
module does: after the fetch, and again at every start. The second look costs 0.1 s for
44 MB, which is little to pay for a cache that any program of the user may have written
to.
"""

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.common.errors import ConfigError

LOCK = Path(__file__).parents[3] / "infra" / "kafka" / "jgo.lock.toml"
_ATTEMPTS = 3
_PARALLEL_DOWNLOADS = 6


@dataclass(frozen=True)
class Jar:
    """One line of the lock."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def filename(self) -> str:
        """Its name on the class path."""
        return f"{self.artifact}-{self.version}.jar"


Fetch = Callable[[Jar, Path], Path]
"""Brings a jar into an empty folder, or finds it on this machine, and says where it
lies.
"""


def ensure_jars(cache: Path | None = None, *, lock: Path = LOCK, fetch: Fetch | None = None) -> list[Path]:
    """The jars of Kafka's class path, in the lock's order; fetched first where this
    machine has none yet.

    Several processes may ask at once: one fetches, the others wait for it.

    Raises:
        ConfigError: the jars can't be fetched, or one of them is not the one that the
            lock names.
    """
    jars = read_lock(lock)
    folder = (cache or default_cache(lock)) / "jars"
    if not folder.exists():
        _make_cache(folder.parent)
        with exclusive(folder.parent / "fetch.lock"):
            if not folder.exists():
                _fetch_all(jars, folder, fetch or fetch_with_jgo)
    paths = [folder / jar.filename for jar in jars]
    for jar, path in zip(jars, paths, strict=True):
        _check(jar, path, mend=f"Remove {folder} and start again.")
    return paths


def _make_cache(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"Kafka's jars cannot be kept in {folder} ({error.strerror}): set XDG_CACHE_HOME to a folder "
            "that you may write to."
        ) from error


def read_lock(lock: Path = LOCK) -> list[Jar]:
    """The jars that the lock names."""
    entries = tomllib.loads(lock.read_text(encoding="utf-8"))["dependencies"]
    return [
        Jar(entry["groupId"], entry["artifactId"], entry["version"], entry["sha256"]) for entry in entries
    ]


def default_cache(lock: Path = LOCK) -> Path:
    """Where the jars stay: outside the checkout, so that a second clone fetches
    nothing, and one folder for each version of the lock.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    sums = hashlib.sha256("".join(jar.sha256 for jar in read_lock(lock)).encode()).hexdigest()
    return base / "tocsin" / f"kafka-{read_lock(lock)[0].version}-{sums[:12]}"


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Holds a lock file; other processes wait for it. A killed holder lets go of it."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def fetch_with_jgo(jar: Jar, folder: Path) -> Path:
    """Takes a jar from the local Maven repository, else from Maven Central or from the
    mirror that jgo's configuration names.

    Raises:
        OSError: the repository can't be reached (requests' exceptions are OSErrors).
        RuntimeError: no repository has it.
    """
    # Here and not above, since it takes 0.3 s, and a broker that was killed is to be
    # back soon.
    from jgo.config import GlobalSettings  # noqa: PLC0415
    from jgo.constants import MAVEN_CENTRAL_URL  # noqa: PLC0415
    from jgo.maven import MavenContext  # noqa: PLC0415

    settings = GlobalSettings.load()
    context = MavenContext(
        repo_cache=folder,
        local_repos=[settings.repo_cache],
        remote_repos={"central": MAVEN_CENTRAL_URL, **settings.repositories},
    )
    return Path(context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve())


def _fetch_all(jars: Sequence[Jar], folder: Path, fetch: Fetch) -> None:
    """Fills a folder beside the final one and renames it: the final one is whole, or
    absent.
    """
    version = jars[0].version
    with (
        tempfile.TemporaryDirectory(prefix="fetching-", dir=folder.parent) as temporary,
        ThreadPoolExecutor(_PARALLEL_DOWNLOADS, "jars") as pool,
    ):
        staging = Path(temporary) / "jars"
        staging.mkdir()
        downloads = [pool.submit(_fetch_one, jar, staging, fetch) for jar in jars]
        _show_progress(version, 0, len(jars))
        try:
            for done, download in enumerate(as_completed(downloads), 1):
                download.result()
                _show_progress(version, done, len(jars))
        except (RuntimeError, OSError) as error:
            pool.shutdown(cancel_futures=True)
            raise ConfigError(_cannot_fetch(version, error)) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        staging.rename(folder)


def _fetch_one(jar: Jar, staging: Path, fetch: Fetch) -> None:
    for attempt in range(1, _ATTEMPTS + 1):
        # A folder of its own for each attempt, since jgo takes a half-written file of
        # the last one for the whole.
        with tempfile.TemporaryDirectory(dir=staging.parent) as folder:
            try:
                path = fetch(jar, Path(folder))
            except OSError:
                if attempt == _ATTEMPTS:
                    raise
                continue
            _check(
                jar,
                path,
                mend="Nothing was installed. Either the repository serves another file, or the lock was "
                "changed.",
            )
            shutil.copyfile(path, staging / jar.filename)
            return


def _check(jar: Jar, path: Path, *, mend: str) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        found = "no file"
    if found != jar.sha256:
        raise ConfigError(
            f"{path} is not the jar that infra/kafka/jgo.lock.toml names: sha256 {found}, expected "
            f"{jar.sha256}. {mend}"
        )


def _show_progress(version: str, done: int, total: int) -> None:
    """One line that rewrites itself on a terminal; in a log, every tenth jar."""
    text = f"Fetching Apache Kafka {version}: {done} of {total} jars"
    if sys.stderr.isatty():
        print(f"\r{text}", end="\n" if done == total else "", file=sys.stderr, flush=True)  # noqa: T201 (meant for the person who waits)
    elif done % 10 == 0 or done == total:
        print(text, file=sys.stderr, flush=True)  # noqa: T201


def _cannot_fetch(version: str, error: Exception) -> str:
    return (
        f"Apache Kafka {version} can't be fetched from Maven Central ({type(error).__name__}: {error}). "
        "Two ways to go on without it:\n"
        f"  1. set TOCSIN_KAFKA_URL=host:port to a Kafka that runs already: Tocsin then starts none;\n"
        "  2. set KAFKA_HOME=/path to an unpacked Apache Kafka distribution (4.0 or later): Tocsin then "
        "starts that one."
    )

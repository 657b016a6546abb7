"""Secrets in files: where `NAME_FILE` is set, the file that it names holds what `NAME`
would, as Docker's and Kubernetes' secrets do.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from services.common.errors import ConfigError

SUFFIX = "_FILE"
_MOST_BYTES = 65_536


def secret_of(environ: Mapping[str, str], *names: str) -> str | None:
    """The secret of the first of these variables that is set, itself or by a file; None
    where none is.

    Raises:
        ConfigError: the file is none, or a variable is set both ways.
    """
    for name in names:
        value, file = environ.get(name), environ.get(name + SUFFIX)
        if value and file:
            raise ConfigError(f"{name} and {name}{SUFFIX} are both set: leave one of them out")
        if file:
            return _read(name + SUFFIX, Path(file))
        if value:
            return value
    return None


def with_secret_files(environ: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """An environment in which these variables are set themselves.

    Raises:
        ConfigError: as of `secret_of`.
    """
    found = {name: secret_of(environ, name) for name in names}
    read = {name: value for name, value in found.items() if value is not None}
    return {name: value for name, value in environ.items() if name.removesuffix(SUFFIX) not in read} | read


def _read(variable: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"{variable}={str(path)!r} cannot be read ({error.strerror}): name a file that holds the secret "
            "and nothing else"
        ) from error
    try:
        value = raw.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        value = ""
    if not value or len(raw) > _MOST_BYTES or not value.isprintable():
        raise ConfigError(
            f"{variable}={str(path)!r} must hold the secret and nothing else: one line of UTF-8, not empty"
        )
    return value

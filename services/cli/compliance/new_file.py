"""Files that are written whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from services.common.errors import ConfigError


@contextlib.contextmanager
def new_file(out: Path) -> Iterator[BinaryIO]:
    """What is written here is in `out` once the block has ended; only its owner may read
    it.

    Raises:
        ConfigError: the file is there already, or cannot be written.
    """
    if out.exists():
        raise ConfigError(f"--out {out} is there already; name a file that is not")
    part = out.with_name(f"{out.name}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.link(part, out)  # fails where somebody made it meanwhile
    except OSError as error:
        raise ConfigError(f"--out {out} cannot be written: {error}") from error
    finally:
        part.unlink(missing_ok=True)

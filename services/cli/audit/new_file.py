"""Files that are written whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from services.common.errors import ConfigError


@contextlib.contextmanager
def new_file(out: Path) -> Iterator[Path]:
    """Where to write what shall be `out`, which is there once the block has ended.

    Raises:
        ConfigError: the file is there already, or cannot be written.
    """
    if out.exists():
        raise ConfigError(f"--out {out} is there already; name a file that is not")
    part = out.with_name(f"{out.name}.part")
    try:
        yield part
        os.link(part, out)  # fails where somebody made it meanwhile
    except OSError as error:
        raise ConfigError(f"--out {out} cannot be written: {error}") from error
    finally:
        part.unlink(missing_ok=True)

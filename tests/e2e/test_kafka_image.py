"""Java's ahead-of-time cache for Kafka, really made and really used."""

import subprocess
from pathlib import Path

import psutil
import pytest

from services.embedded.kafka import jars as kafka_jars
from services.embedded.kafka.aot_cache import make_image
from services.embedded.kafka.broker import EmbeddedKafka, find_distribution

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def test_make_image_on_a_new_machine_gives_one_that_java_accepts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made once beside the jars, kept the second time, and what the next broker starts
    from.
    """
    jars = kafka_jars.ensure_jars()
    cache = tmp_path / "tocsin" / jars[0].parents[1].name
    cache.mkdir(parents=True)
    (cache / "jars").symlink_to(jars[0].parent)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("KAFKA_HOME", raising=False)

    image = make_image()

    assert image is not None
    assert make_image() == image
    assert {path.name for path in cache.iterdir()} == {"jars", "aot.lock", image.name}
    # AOTMode=on makes Java fail where it would otherwise go on without the image.
    strict = [*find_distribution().java(), "-XX:AOTMode=on", "kafka.Kafka", "--version"]
    done = subprocess.run(strict, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    broker = EmbeddedKafka(tmp_path / "kafka")
    broker.start()
    try:
        assert f"-XX:AOTCache={image}" in psutil.Process(broker.pid).cmdline()
    finally:
        broker.stop()

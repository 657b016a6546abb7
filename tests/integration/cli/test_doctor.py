"""What `tocsin doctor` and `tocsin dlq` find and do, on a real Kafka and the embedded
store.
"""

import pytest

from services.cli import doctor
from services.common.bus.dead_letters.dead_letter_log import list_dead_letters, replay_dead_letters
from services.common.errors import ConfigError
from services.common.process.settings import CommonSettings
from tests.support.analyzer.recorder_scene import Scene
from tests.support.analyzer.recording import TOPIC, eventually, ledger

pytestmark = pytest.mark.timeout(300)


def _settings(scene: Scene) -> CommonSettings:
    return CommonSettings(kafka_url=scene.broker.bootstrap, clickhouse_url=scene.url, partition_scale=0.25)


async def test_examine_of_a_sound_installation_finds_nothing(scene: Scene) -> None:
    """Topics, migrations, ledger and rollups are as they should be."""
    scene.recorder.start()
    await scene.source.send(300)
    await scene.all_recorded()
    findings = await doctor.examine(_settings(scene), ())
    assert doctor.exit_code(findings) == 0, doctor.report(findings)
    assert "300 events of 1 producers, none missing, none doubled" in doctor.report(findings)
    assert "topics to their end" in doctor.report(findings)


async def test_examine_with_a_gap_says_whose(scene: Scene) -> None:
    """An event that its producer counted and that never came."""
    scene.recorder.start()
    await scene.source.send(100)
    scene.source.forget()
    await scene.source.send(100)
    await eventually(lambda: _rows(scene, 200), within_s=90, what="200 rows")
    findings = await doctor.examine(_settings(scene), ())
    assert doctor.exit_code(findings) == 1
    assert f"{scene.source.source} on {TOPIC}: 1 missing, 0 doubled" in doctor.report(findings)


async def test_examine_with_nothing_there_says_what_to_do(unused_tcp_port: int) -> None:
    """Every check is made, and each failure names its remedy."""
    settings = CommonSettings(
        kafka_url=f"127.0.0.1:{unused_tcp_port}",
        clickhouse_url=f"http://service:x@127.0.0.1:{unused_tcp_port}/tocsin",
    )
    findings = await doctor.examine(settings, ())
    assert [one.ok for one in findings] == [False] * 9
    assert "mend TOCSIN_KAFKA_URL" in doctor.report(findings)
    assert "mend TOCSIN_CLICKHOUSE_URL" in doctor.report(findings)


async def test_replayed_dead_letters_become_rows_and_close_no_gap_twice(scene: Scene) -> None:
    """What was set aside is sent again as it was, once; still unreadable, it is set
    aside again, and the ledger stays whole.
    """
    scene.recorder.start()
    await scene.source.send(200, invalid=lambda number: number % 50 == 9)
    await scene.all_recorded(invalid=4)
    letters = await list_dead_letters(scene.broker.bootstrap, TOPIC)
    assert sorted(letter.sequence for letter in letters) == [9, 59, 109, 159]
    assert (await replay_dead_letters(scene.broker.bootstrap, TOPIC, limit=1)).sent == 1
    assert (await replay_dead_letters(scene.broker.bootstrap, TOPIC)).sent == 3
    await eventually(lambda: _set_aside(scene, 8), within_s=90, what="they are set aside again")
    row = await ledger(scene.store, scene.source.source)
    assert (row["rows"], row["gaps"], row["doubles"]) == (196, 0, 0)
    assert len(await list_dead_letters(scene.broker.bootstrap, TOPIC, include_replayed=True)) == 8


async def test_list_of_a_topic_without_dead_letters_says_which_have_some() -> None:
    """A typing error is told from an empty list."""
    with pytest.raises(ConfigError, match=TOPIC):
        await list_dead_letters("127.0.0.1:1", "nonsense")


async def _rows(scene: Scene, count: int) -> bool:
    return bool((await scene.store.query("SELECT count() AS n FROM inference_events"))[0]["n"] >= count)


async def _set_aside(scene: Scene, count: int) -> bool:
    return bool((await ledger(scene.store, scene.source.source)).get("dead_lettered") == count)

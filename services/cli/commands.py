"""What `tocsin topics`, `migrate`, `doctor`, `dlq` and `keys` do.

The first three can be run again at any time.
"""

import asyncio
import json
from datetime import timedelta
from typing import Any

from pydantic import Field, SecretStr

from schemas.control import KeyChanged, Scope
from services.cli import doctor
from services.common import keys_admin
from services.common.bus.admin import provision
from services.common.bus.dead_letter_log import dead_letter_topics, list_dead_letters, replay_dead_letters
from services.common.clock import utc_now
from services.common.migrations import migrate
from services.common.model_catalogue import load_models
from services.common.settings import CommonSettings


class KeySettings(CommonSettings):
    """What making keys needs beside the bus."""

    key_pepper: SecretStr = Field(
        min_length=16,
        description="Secret under which API keys are hashed, at least 16 characters, the same on every "
        "gateway.",
    )


def create_key(
    *,
    name: str,
    tenant: str,
    user: str,
    scopes: list[Scope],
    models: list[str],
    expires_in_days: float | None,
    as_json: bool,
) -> int:
    """Makes a key and shows it, this once; returns the exit status.

    Raises:
        BusUnavailableError: Kafka did not take it; the key does not exist.
        ConfigError: TOCSIN_KEY_PEPPER is missing or too short.
    """
    settings, now = KeySettings.load(), utc_now()
    expires_at = now + timedelta(days=expires_in_days) if expires_in_days else None
    made = keys_admin.create(
        settings.kafka_url,
        pepper=settings.key_pepper.get_secret_value(),
        name=name,
        tenant=tenant,
        now=now,
        user=user,
        scopes=scopes,
        models=models,
        expires_at=expires_at,
    )
    clear, record = asyncio.run(made)
    print(
        json.dumps({"key": clear, **_shown(record)})
        if as_json
        else f"{clear}\n(shown this once; only its hash is kept)"
    )
    return 0


def list_keys(*, as_json: bool) -> int:
    """Shows every key as it stands, without its secret; returns the exit status.

    Raises:
        BusUnavailableError: Kafka cannot be read.
    """
    keys = [_shown(one) for one in asyncio.run(keys_admin.list_keys(CommonSettings.load().kafka_url))]
    if as_json:
        print(json.dumps(keys))
        return 0
    for key in keys:
        state = (
            f"revoked {key['revoked_at']}" if key["revoked_at"] else f"expires {key['expires_at'] or 'never'}"
        )
        print(f"{key['key_id']}  {key['tenant']:<16} {key['name']:<20} {','.join(key['scopes']):<28} {state}")
    return 0


def revoke_key(key_id: str) -> int:
    """Ends a key on every gateway; returns the exit status.

    Raises:
        NoSuchKeyError: there is none of this id.
        BusUnavailableError: Kafka did not take it; the key is as it was.
    """
    record = asyncio.run(keys_admin.revoke(CommonSettings.load().kafka_url, key_id, now=utc_now()))
    print(f"{record.key_id} ({record.name}) is revoked")
    return 0


def examine() -> int:
    """Checks the bus, the store and the ledger, and says what to do about what is
    wrong; returns the exit status, 0 where all is well.

    Raises:
        ConfigError: a setting or the models file is wrong.
    """
    settings = CommonSettings.load()
    findings = asyncio.run(doctor.examine(settings, load_models(settings.models_file)))
    print(doctor.report(findings))
    return doctor.exit_code(findings)


def show_dead_letters() -> int:
    """Lists what consumers could not use and nobody has replayed; returns the exit
    status.

    Raises:
        BusUnavailableError: Kafka cannot be read.
    """
    url = CommonSettings.load().kafka_url
    for topic in dead_letter_topics():
        for letter in asyncio.run(list_dead_letters(url, topic)):
            place = f"{letter.topic}[{letter.partition}]@{letter.offset}"
            print(
                f"{place}  {letter.failed_at:%Y-%m-%d %H:%M:%S}  {letter.consumer}  {letter.error_type}: "
                f"{letter.error}"
            )
    return 0


def replay(limit: int | None) -> int:
    """Sends dead letters to the topics that they came from, at most `limit` a topic;
    returns the exit status.

    Raises:
        BusUnavailableError: Kafka cannot be read or written.
    """
    url = CommonSettings.load().kafka_url
    for topic in dead_letter_topics():
        print(f"{topic}: {asyncio.run(replay_dead_letters(url, topic, limit=limit))}")
    return 0


def _shown(record: KeyChanged) -> dict[str, Any]:
    return record.model_dump(mode="json", exclude={"secret_hmac", "kind"})


def provision_topics() -> int:
    """Creates missing topics, mends settings, and tells what it did; returns the exit
    status.

    Raises:
        BusUnavailableError: no Kafka at `TOCSIN_KAFKA_URL`.
        ConfigError: a setting or the models file is wrong.
    """
    settings = CommonSettings.load()
    done = asyncio.run(
        provision(settings.kafka_url, load_models(settings.models_file), settings.partition_scale)
    )
    print(
        f"topics: {len(done.created)} created, {len(done.updated)} updated, {len(done.unchanged)} as they "
        "should be"
    )
    for name in done.too_few_partitions:
        print(
            f"topics: {name} has fewer partitions than TOCSIN_PARTITION_SCALE={settings.partition_scale} "
            "asks for; Kafka keeps them, and so do we"
        )
    return 0


def migrate_store() -> int:
    """Applies what is pending in infra/clickhouse; returns the exit status.

    Raises:
        StoreUnavailableError: no ClickHouse at `TOCSIN_CLICKHOUSE_URL`.
        ConfigError: an applied migration was changed.
    """
    applied = migrate(CommonSettings.load().clickhouse_url)
    print(f"migrate: {', '.join(applied) or 'nothing to do'}")
    return 0

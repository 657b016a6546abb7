"""What `tocsin topics` and `tocsin migrate` do. Both can be run again at any time."""

import asyncio

from services.common.bus.admin import provision
from services.common.migrations import migrate
from services.common.model_catalogue import load_models
from services.common.settings import CommonSettings


def provision_topics() -> int:
    """Creates missing topics, mends settings, and tells what it did; returns the exit status.

    Raises:
        BusUnavailableError: no Kafka at `TOCSIN_KAFKA_URL`.
        ConfigError: a setting or the models file is wrong.
    """
    settings = CommonSettings.load()
    done = asyncio.run(provision(settings.kafka_url, load_models(settings.models_file), settings.partition_scale))
    print(f"topics: {len(done.created)} created, {len(done.updated)} updated, {len(done.unchanged)} as they should be")  # noqa: T201
    for name in done.too_few_partitions:
        print(f"topics: {name} has fewer partitions than TOCSIN_PARTITION_SCALE={settings.partition_scale} asks for; Kafka keeps them, and so do we")  # noqa: T201
    return 0


def migrate_store() -> int:
    """Applies what is pending in infra/clickhouse; returns the exit status.

    Raises:
        StoreUnavailableError: no ClickHouse at `TOCSIN_CLICKHOUSE_URL`.
        ConfigError: an applied migration was changed.
    """
    applied = migrate(CommonSettings.load().clickhouse_url)
    print(f"migrate: {', '.join(applied) or 'nothing to do'}")  # noqa: T201
    return 0

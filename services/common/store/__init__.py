"""The one door to ClickHouse: `client.py` inserts and asks, `migrations.py` brings
tables and views to what infra/clickhouse describes. Nothing else imports the drivers.
"""

from services.common.store.client import Store, StoreMisconfiguredError, Table

__all__ = ["Store", "StoreMisconfiguredError", "Table"]

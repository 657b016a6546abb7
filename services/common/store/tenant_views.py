"""What analysts of one tenant may read, in either kind of store.

A view belongs here if each of its rows has a `tenant` and tells of that tenant alone.
"""

TENANT_VIEWS = (
    "v_alerts",
    "v_anomalies",
    "v_breaches",
    "v_costs",
    "v_drift",
    "v_errors",
    "v_feedback",
    "v_finding_feedback",
    "v_findings",
    "v_forecasts",
    "v_models",
    "v_quality",
    "v_queue",
    "v_recommendations",
    "v_request_events",
    "v_requests",
    "v_retrainings",
    "v_slow_requests",
    "v_threats",
    "v_usage_daily",
    "v_usage_hourly",
    "v_usage_minutely",
    "v_users",
)

READER, TENANT_READER = "tocsin_reader", "tocsin_tenant_reader"
"""Roles that the console takes to read in somebody's name: every view, or what these
views tell of the tenant that `TENANT_PARAMETER` names. It gives up all other rights.
"""
TENANT_PARAMETER = "SQL_tenant"
_TENANT_ANALYST = "tocsin_tenant_analyst"


def reader_statements(user: str, database: str = "tocsin") -> tuple[str, ...]:
    """What an administrator of a ClickHouse server runs once, so that `user`, whose the
    console's connections are, can take both roles. `SQL_` must be among the server's
    `custom_settings_prefixes`, as it is by default.
    """
    return (
        *_roles(database),
        (
            f"CREATE ROW POLICY OR REPLACE {TENANT_READER} ON {_views(database)} "
            f"FOR SELECT USING tenant = getSetting('{TENANT_PARAMETER}') TO {TENANT_READER}"
        ),
        f"GRANT {READER}, {TENANT_READER} TO `{user}`",
    )


def server_statements(
    name: str, tenant: str, password_sha256: str, database: str = "tocsin"
) -> tuple[str, ...]:
    """What an administrator of a ClickHouse server runs to add an analyst of a tenant.

    The user can read nothing before the last statement, when the row policies are
    there. They hold on views, which read tables with their definer's rights.
    """
    return (
        *_roles(database),
        (
            f"CREATE USER `{name}` IDENTIFIED WITH sha256_hash BY '{password_sha256}' SETTINGS readonly = 1 "
            "CONST, max_execution_time = 30 CONST, max_memory_usage = 536870912 CONST"
        ),
        (
            f"CREATE ROW POLICY OR REPLACE `tocsin_{name}` ON {_views(database)} "
            f"FOR SELECT USING tenant = '{tenant}' TO `{name}`"
        ),
        f"GRANT {_TENANT_ANALYST} TO `{name}`",
    )


def _views(database: str) -> str:
    return ", ".join(f"{database}.{one}" for one in TENANT_VIEWS)


def _roles(database: str) -> tuple[str, ...]:
    """The roles with their grants, and the policy that opens the views to everybody else."""
    narrow = (_TENANT_ANALYST, TENANT_READER)
    return (
        *(f"CREATE ROLE IF NOT EXISTS {one}" for one in (READER, *narrow)),
        f"GRANT SELECT ON {database}.* TO {READER}",
        *(f"GRANT SELECT ON {database}.{one} TO {', '.join(narrow)}" for one in TENANT_VIEWS),
        (
            f"CREATE ROW POLICY OR REPLACE tocsin_everybody ON {_views(database)} "
            f"FOR SELECT USING 1 TO ALL EXCEPT {', '.join(narrow)}"
        ),
    )

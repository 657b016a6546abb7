"""What analysts of one tenant may read, in either kind of store.

A view belongs here if each of its rows has a `tenant` and tells of that tenant alone.
"""

TENANT_VIEWS = (
    "v_alerts",
    "v_breaches",
    "v_costs",
    "v_drift",
    "v_errors",
    "v_feedback",
    "v_finding_feedback",
    "v_findings",
    "v_models",
    "v_quality",
    "v_queue",
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


def server_statements(
    name: str, tenant: str, password_sha256: str, database: str = "tocsin"
) -> tuple[str, ...]:
    """What an administrator of a ClickHouse server runs to add an analyst of a tenant.

    The user can read nothing before the last statement, when the row policies are
    there. They hold on views, which read tables with their definer's rights.
    """
    views = ", ".join(f"{database}.{one}" for one in TENANT_VIEWS)
    return (
        "CREATE ROLE IF NOT EXISTS tocsin_tenant_analyst",
        *(f"GRANT SELECT ON {database}.{one} TO tocsin_tenant_analyst" for one in TENANT_VIEWS),
        (
            f"CREATE ROW POLICY OR REPLACE tocsin_everybody ON {views} "
            "FOR SELECT USING 1 TO ALL EXCEPT tocsin_tenant_analyst"
        ),
        (
            f"CREATE USER `{name}` IDENTIFIED WITH sha256_hash BY '{password_sha256}' SETTINGS readonly = 1 "
            "CONST, max_execution_time = 30 CONST, max_memory_usage = 536870912 CONST"
        ),
        (
            f"CREATE ROW POLICY OR REPLACE `tocsin_{name}` ON {views} "
            f"FOR SELECT USING tenant = '{tenant}' TO `{name}`"
        ),
        f"GRANT tocsin_tenant_analyst TO `{name}`",
    )

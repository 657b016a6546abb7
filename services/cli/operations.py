"""Commands that operate an installation: topics, migrate, doctor. Each can be
run again at any time.
"""

import asyncio

import typer

from services.cli.beside import run_beside_installation


def add_to(app: typer.Typer) -> None:
    """Adds the commands to `tocsin`."""
    for command in (topics, migrate, doctor, asyncapi):
        app.command()(command)


def topics() -> None:
    """Create the bus's topics where they are missing, and mend the settings of those
    that differ.
    """
    run_beside_installation(_provision_topics)


def migrate() -> None:
    """Bring the store's tables and views up to date."""
    run_beside_installation(_migrate_store)


def doctor() -> None:
    """Check the bus, the store, the keys and the ledger, and say what to do."""
    run_beside_installation(_examine)


def asyncapi() -> None:
    """Print the bus as AsyncAPI: every topic, who writes it, who reads it."""
    _print_asyncapi()


def _provision_topics() -> int:
    from services.common.bus.administration.admin import provision
    from services.common.process.settings import CommonSettings
    from services.common.requests.model_catalogue import load_models

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


def _migrate_store() -> int:
    from services.common.process.settings import CommonSettings
    from services.common.store.migrations import migrate as apply_migrations

    applied = apply_migrations(CommonSettings.load().clickhouse_url)
    print(f"migrate: {', '.join(applied) or 'nothing to do'}")
    return 0


def _examine() -> int:
    from services.cli.doctor import examine, exit_code, report
    from services.common.process.settings import CommonSettings
    from services.common.requests.model_catalogue import load_models

    settings = CommonSettings.load()
    findings = asyncio.run(examine(settings, load_models(settings.models_file)))
    print(report(findings))
    return exit_code(findings)


def _print_asyncapi() -> None:
    import yaml

    from schemas.export import HOME
    from services.analyzer.app import build
    from services.analyzer.settings import Settings
    from services.common.bus.subscriber.asyncapi import merged

    ours = yaml.safe_load((HOME / "asyncapi.yaml").read_text(encoding="utf-8"))
    document = merged(ours, build(Settings.load()).asyncapi())
    print(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110), end="")

"""The data dictionary: docs/concepts/data_dictionary.md, made of the store's own comments."""

from services.common.store.client import Store

_SQL = """
SELECT tables.name AS name, tables.comment AS comment,
    groupArray((columns.name, columns.type, columns.comment)) AS columns
FROM system.tables AS tables
INNER JOIN
(
    SELECT table, name, type, comment FROM system.columns WHERE database = currentDatabase()
    ORDER BY table, position
) AS columns ON columns.table = tables.name
WHERE tables.database = currentDatabase() AND tables.name != 'schema_versions'
    AND NOT endsWith(tables.name, '_writer')
GROUP BY name, comment ORDER BY NOT startsWith(name, 'v_'), name
"""


async def dictionary_page(store: Store) -> str:
    """The page, as Markdown: views first, then tables, each with its columns.

    Raises:
        StoreUnavailableError: not now.
    """
    rows = await store.query(_SQL)
    lines = [
        "# Data dictionary",
        "Made by `tocsin dictionary` from the store's comments; views first, then tables. Times are UTC.",
    ]
    for row in rows:
        lines += ["", f"## {row['name']}", row["comment"], "", "| column | type | what it is |", "|-|-|-|"]
        lines += [f"| {name} | `{kind}` | {_cell(comment)} |" for name, kind, comment in row["columns"]]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")

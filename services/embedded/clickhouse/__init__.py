"""ClickHouse's HTTP interface over chDB: the store of a machine on which nothing is
installed.

One process owns one data directory. What talks to it cannot tell it from a ClickHouse
server by what Tocsin uses: statements, formats, parameters, sessions, compression,
users, error codes. What only a server has (SQL users, row policies, replication, the
Kafka engine, external tables, `input()`) is refused by name. docs/adr/0005 says what
keeps a hostile statement inside.

    app.py         one HTTP request: who asks, is there room, what is asked
    exchange.py    a request under way: as it came, as it is understood, what will be answered
    opening.py     from a request to a handle that may run it
    execution.py   running one statement, moving rows in or out as they come
    audit.py       what analysts asked
    users.py       who may come in
    http/          requests and responses, formats, compression, Native by protocol version
    sql/           the engine's tokens, where an INSERT's data begins, what each role may ask
    engine/        chDB: handles, sessions, workers, admission; what its process may do
"""

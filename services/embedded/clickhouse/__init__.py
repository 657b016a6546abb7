"""ClickHouse's HTTP interface over chDB: the store of a machine on which nothing is
installed.

One process owns one data directory. What talks to it cannot tell it from a ClickHouse
server by what Tocsin uses: statements, formats, parameters, sessions, compression,
users, error codes. What only a server has (SQL users, row policies, replication, the
Kafka engine, external tables, `input()`) is refused by name.

    app.py         one HTTP request: who asks, is there room, what is asked
    execution.py   running one statement, moving rows in or out as they come
    request.py     what a request asks for: parameters, credentials, the body as it arrives
    response.py    what is sent back: headers, compression, errors before and in the middle of a stream
    statements.py  tokens of SQL; where an INSERT ends and its data begins
    rights.py      which statements and settings each role may use; vocabulary.py has the words
    engine.py      chDB: handles, settings, streams, KILL; workers.py runs it in threads
    sessions.py    `session_id`
    admission.py   how many queries run and wait
    audit.py       what analysts asked
    users.py       who may come in
"""

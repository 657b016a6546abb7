-- The audit log as a chain of hashes, written only by the analyzer's audit role (docs/adr/0012-event-consumers.md). Nothing has written the table of 0003, so
-- it is made anew: its key and engine cannot be altered.
--
-- `hash` covers the previous hash, the entry's place and what it says; of what may be personal it covers salted digests only. Erasing empties `actor_id`,
-- `address` and `actor_salt`, or the content columns and `content_salt`: the chain still holds, and what is left cannot be guessed from its digest.
-- A row follows from the log alone, so whoever writes it twice writes the same: equal rows fall together (ReplacingMergeTree; read with FINAL or v_audit).
-- `hash` is a part of the key, so that a row with another hash in the same place, a fork, stays visible.
DROP TABLE IF EXISTS audit_log;

CREATE TABLE audit_log
(
    chain LowCardinality(String) COMMENT 'The chain: a partition of the topic.',
    position UInt64 COMMENT 'Place in the chain, from 0.' CODEC(Delta, ZSTD(1)),
    previous_hash String COMMENT 'Hash of the row before it; 64 zeros for the first.' CODEC(ZSTD(1)),
    hash String COMMENT 'SHA-256 in hexadecimal over the canonical JSON of this row (services/analyzer/audit/domain/chain.py).' CODEC(ZSTD(1)),
    occurred_at DateTime64(3, 'UTC') COMMENT 'When it was done.' CODEC(Delta, ZSTD(1)),
    tenant LowCardinality(String) COMMENT 'Whose data or settings; empty for the whole platform.',
    action LowCardinality(String) COMMENT 'What was done, as an object and a verb: key.created, table.exported.',
    outcome LowCardinality(String) COMMENT 'done, denied or failed.',
    object_kind LowCardinality(String) COMMENT 'What kind of thing it was done to.',
    entry_id String COMMENT 'This entry''s id.' CODEC(ZSTD(1)),
    request_id String COMMENT 'The x-request-id that it was done with; empty where there was none.' CODEC(ZSTD(1)),
    actor_kind LowCardinality(String) COMMENT 'key, user, operator or service.',
    actor_id String COMMENT 'Who did it: a key''s public part, a pseudonym, a name; DELETED once erased.' CODEC(ZSTD(1)),
    address String COMMENT 'Where from, truncated or keyed.' CODEC(ZSTD(1)),
    actor_salt String COMMENT 'Salt of actor_digest; empty once erased.' CODEC(ZSTD(1)),
    actor_digest String COMMENT 'SHA-256 over salt, actor_id and address.' CODEC(ZSTD(1)),
    object_id String COMMENT 'What it was done to; DELETED once erased.' CODEC(ZSTD(1)),
    reason String COMMENT 'Why.' CODEC(ZSTD(3)),
    before String COMMENT 'What was changed, before, as JSON without secrets; empty where nothing was.' CODEC(ZSTD(3)),
    after String COMMENT 'The same, afterwards.' CODEC(ZSTD(3)),
    content_salt String COMMENT 'Salt of content_digest; empty once erased.' CODEC(ZSTD(1)),
    content_digest String COMMENT 'SHA-256 over salt, object_id, reason, before and after.' CODEC(ZSTD(1)),
    event_id String COMMENT 'CloudEvents id.' CODEC(ZSTD(1)),
    source LowCardinality(String) COMMENT 'The incarnation of the producer that sent it.',
    sequence Int64 COMMENT 'The producer''s count of events on this topic, from 0; -1 where it does not count.' CODEC(Delta, ZSTD(1)),
    topic LowCardinality(String) COMMENT 'Kafka topic.',
    partition UInt32 COMMENT 'Kafka partition.' CODEC(T64, ZSTD(1)),
    offset UInt64 COMMENT 'Kafka offset.' CODEC(Delta, ZSTD(1)),
    recorded_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When the store took it.' CODEC(Delta, ZSTD(1)),
    INDEX by_time occurred_at TYPE minmax GRANULARITY 1,
    INDEX by_entry entry_id TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = ReplacingMergeTree
ORDER BY (chain, position, hash)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'What administrators, operators, services and analysts did, as a hash chain. It has no TTL: a chain whose beginning is missing proves less.';

CREATE OR REPLACE VIEW v_audit AS
SELECT
    chain, position, occurred_at, tenant, action, outcome, object_kind, object_id, actor_kind, actor_id, address, reason, before, after, entry_id, request_id,
    previous_hash, hash
FROM audit_log FINAL;

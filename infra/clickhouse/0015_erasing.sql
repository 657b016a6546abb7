-- Whom the erasures under way are about (docs/adr/0025-erasure.md): name, pseudonyms, ids of keys and of requests. Statements that erase name this table and no
-- person, as ClickHouse keeps statements. Emptied when a round ends; what a crash leaves goes after a day.
CREATE TABLE IF NOT EXISTS erasing
(
    work String COMMENT 'The erasure and the process that does it.',
    kind LowCardinality(String) COMMENT 'user (a pseudonym), key, request, name or entry.',
    value String COMMENT 'The pseudonym, id or name.',
    began_at DateTime('UTC') DEFAULT now() COMMENT 'When it was put here.'
)
ENGINE = MergeTree
ORDER BY (work, kind, value)
TTL began_at + INTERVAL 1 DAY
COMMENT 'Pseudonyms and ids of whom is being erased, for as long as that takes.';

-- The file of a part that was written anew goes once it is old (8 minutes on a server) and somebody cleans up: within half a minute, not five.
ALTER TABLE inference_events MODIFY SETTING cleanup_delay_period = 5, max_cleanup_delay_period = 20;

ALTER TABLE inference_per_minute MODIFY SETTING cleanup_delay_period = 5, max_cleanup_delay_period = 20;

ALTER TABLE inference_per_hour MODIFY SETTING cleanup_delay_period = 5, max_cleanup_delay_period = 20;

ALTER TABLE feedback MODIFY SETTING cleanup_delay_period = 5, max_cleanup_delay_period = 20;

ALTER TABLE security_findings MODIFY SETTING cleanup_delay_period = 5, max_cleanup_delay_period = 20;

ALTER TABLE kpi_breaches MODIFY SETTING cleanup_delay_period = 5, max_cleanup_delay_period = 20;

ALTER TABLE alert_changes MODIFY SETTING cleanup_delay_period = 5, max_cleanup_delay_period = 20;

ALTER TABLE retraining_requests MODIFY SETTING cleanup_delay_period = 5, max_cleanup_delay_period = 20;

ALTER TABLE dead_letters MODIFY SETTING cleanup_delay_period = 5, max_cleanup_delay_period = 20;

ALTER TABLE audit_log MODIFY SETTING cleanup_delay_period = 5, max_cleanup_delay_period = 20;

ALTER TABLE erasing MODIFY SETTING cleanup_delay_period = 5, max_cleanup_delay_period = 20;

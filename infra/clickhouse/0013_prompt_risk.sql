-- What a gateway found in the prompt before it was served: empty where the tenant's policy was off, or a gateway of before made the request.
ALTER TABLE inference_events
    ADD COLUMN IF NOT EXISTS risk_level LowCardinality(String) COMMENT 'none, low, medium, high or critical; empty where the prompt was not inspected.' AFTER response_text,
    ADD COLUMN IF NOT EXISTS risk_score Float64 COMMENT 'Points of the prompt; levels begin at 3, 7, 12 and 20 by default.' CODEC(ZSTD(1)) AFTER risk_level,
    ADD COLUMN IF NOT EXISTS risk_action LowCardinality(String) COMMENT 'allowed, flagged or blocked.' AFTER risk_score,
    ADD COLUMN IF NOT EXISTS risk_categories Array(LowCardinality(String)) COMMENT 'Kinds of attack, the worst text''s first.' AFTER risk_action,
    ADD COLUMN IF NOT EXISTS risk_depth LowCardinality(String) COMMENT 'rules or model: who judged; none where nothing was read.' AFTER risk_categories,
    ADD COLUMN IF NOT EXISTS risk_probability Nullable(Float64) COMMENT 'The model''s chance of an attack, 0 to 1; NULL where it was not asked.' CODEC(ZSTD(1)) AFTER risk_depth,
    ADD COLUMN IF NOT EXISTS risk_timed_out Bool COMMENT 'The model was wanted and had no time.' AFTER risk_probability,
    ADD COLUMN IF NOT EXISTS risk_partial Bool COMMENT 'Not all of the prompt was read.' AFTER risk_timed_out,
    ADD COLUMN IF NOT EXISTS risk_detector LowCardinality(String) COMMENT 'Version of the model that judged.' AFTER risk_partial,
    ADD COLUMN IF NOT EXISTS risk_rules LowCardinality(String) COMMENT 'Version of the rules.' AFTER risk_detector;

CREATE OR REPLACE VIEW v_requests AS
SELECT
    completed_at, requested_at, tenant, model, request_id, key_id, user, kind, lane, stream, outcome, finish_reasons, error_code, attempts, replica_id,
    prompt_tokens, cached_tokens, completion_tokens, prompt_tokens + completion_tokens AS total_tokens, cost_usd, duration_ms, queue_ms, ttft_ms, tokens_per_s,
    mean_logprob, prompt_chars, response_chars, prompt_text, response_text, risk_level, risk_score, risk_action, risk_categories, risk_depth, traceparent
FROM inference_events;

-- What the analyzer's forecast role works out each hour (docs/adr/0030-forecast-role.md). Figures of the platform, of tenants and of models: nothing of a person is
-- in them. What a round wrote before it was killed is written again, in its place.
CREATE TABLE IF NOT EXISTS forecasts
(
    as_of DateTime('UTC') COMMENT 'End of the last hour that was known, UTC: the first hour forecast begins then.',
    tenant LowCardinality(String) COMMENT 'Of whom; empty for the whole platform and for models.',
    model LowCardinality(String) COMMENT 'Of which model; empty for all.',
    figure LowCardinality(String) COMMENT 'requests, tokens, cost_usd or threats (findings of medium level and more), each an hour.',
    horizon_hours UInt16 COMMENT '24 or 168: how far it looks.',
    method LowCardinality(String) COMMENT 'The model that made it; none where there is no forecast.',
    baseline LowCardinality(String) COMMENT 'The better seasonal-naive forecast.',
    beats_baseline Bool COMMENT 'Whether the method was better than the baseline on the history; if not, the baseline is what is given.',
    error Nullable(Float64) COMMENT 'Mean absolute error on the history; NULL where nothing could be tried.' CODEC(ZSTD(1)),
    baseline_error Nullable(Float64) COMMENT 'The same of the baseline.' CODEC(ZSTD(1)),
    coverage80 Nullable(Float64) COMMENT 'Share of hours of the history within the 80 % interval.' CODEC(ZSTD(1)),
    coverage95 Nullable(Float64) COMMENT 'The same of the 95 % interval.' CODEC(ZSTD(1)),
    origins UInt16 COMMENT 'How often it was tried on the history.',
    known_hours UInt32 COMMENT 'Hours of history.',
    notes Array(String) COMMENT 'What limits it, a sentence each; why there is none.' CODEC(ZSTD(1)),
    hours Array(DateTime('UTC')) COMMENT 'Starts of the hours, UTC; empty where there is no forecast.' CODEC(ZSTD(1)),
    median Array(Float64) COMMENT 'Of each hour: more in half of the cases.' CODEC(ZSTD(1)),
    low80 Array(Float64) COMMENT 'Lower bound of the 80 % interval.' CODEC(ZSTD(1)),
    high80 Array(Float64) COMMENT 'Upper bound of the 80 % interval.' CODEC(ZSTD(1)),
    low95 Array(Float64) COMMENT 'Lower bound of the 95 % interval.' CODEC(ZSTD(1)),
    high95 Array(Float64) COMMENT 'Upper bound of the 95 % interval.' CODEC(ZSTD(1)),
    computed_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When it was worked out, UTC.'
)
ENGINE = ReplacingMergeTree(computed_at)
ORDER BY (as_of, tenant, model, figure, horizon_hours)
TTL as_of + INTERVAL 35 DAY
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'One row for each forecast of a figure, with the hours in arrays; kept for five weeks, so that it can be held against what came.';

CREATE TABLE IF NOT EXISTS anomalies
(
    anomaly_id String COMMENT 'The same as long as it lasts.' CODEC(ZSTD(1)),
    as_of DateTime('UTC') COMMENT 'End of the last hour that was known when this was written, UTC; the newest row of an anomaly counts.',
    tenant LowCardinality(String) COMMENT 'Of whom; empty for the whole platform and for models.',
    model LowCardinality(String) COMMENT 'Of which model; empty for all.',
    method LowCardinality(String) COMMENT 'seasonal (one figure against its own past) or joint (figures against each other).',
    figure LowCardinality(String) COMMENT 'requests, tokens, cost_usd, errors, latency_s, threats; joint for several together.',
    kind LowCardinality(String) COMMENT 'spike, dip, silence, shift (a day and more), drift (over weeks) or combination.',
    side LowCardinality(String) COMMENT 'above or below what was expected.',
    found_at DateTime('UTC') COMMENT 'End of the hour in which it could first be told, UTC.',
    began_at DateTime('UTC') COMMENT 'Start of its first hour, UTC.',
    ended_at DateTime('UTC') COMMENT 'End of its last hour so far, UTC.',
    peak_at DateTime('UTC') COMMENT 'Start of its most unusual hour, UTC: observed, expected and bounds are of it.',
    observed Float64 COMMENT 'What came; for joint the squared distance.' CODEC(ZSTD(1)),
    expected Float64 COMMENT 'What was expected; for joint the median distance.' CODEC(ZSTD(1)),
    low Float64 COMMENT 'Lower bound of the 95 % interval.' CODEC(ZSTD(1)),
    high Float64 COMMENT 'Upper bound of the 95 % interval; for joint the 99.5th percentile.' CODEC(ZSTD(1)),
    score Float64 COMMENT '-log10 of the chance of what came; 99 at most.' CODEC(ZSTD(1)),
    total_observed Float64 COMMENT 'What came in all of its hours.' CODEC(ZSTD(1)),
    total_expected Float64 COMMENT 'What was expected in all of its hours.' CODEC(ZSTD(1)),
    drivers Array(Tuple(dimension String, value String, observed Float64, expected Float64, share Float64)) COMMENT 'What made the change: values of a dimension (tenant, model; for joint figure) with their share of it; empty where all changed alike.' CODEC(ZSTD(1)),
    computed_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When it was worked out, UTC.'
)
ENGINE = ReplacingMergeTree(computed_at)
ORDER BY (tenant, model, figure, anomaly_id)
TTL ended_at + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'One row for each anomaly, written anew as long as it lasts.';

CREATE OR REPLACE VIEW v_forecasts
(
    as_of DateTime('UTC') COMMENT 'End of the last hour that was known, UTC.',
    is_newest Bool COMMENT 'Whether it is of the newest round.',
    tenant LowCardinality(String) COMMENT 'Of whom; empty for the whole platform and for models.',
    model LowCardinality(String) COMMENT 'Of which model; empty for all.',
    figure LowCardinality(String) COMMENT 'requests, tokens, cost_usd or threats (findings of medium level and more), each an hour.',
    horizon_hours UInt16 COMMENT '24 or 168: how far the forecast looks.',
    hour Nullable(DateTime('UTC')) COMMENT 'Start of the hour, UTC; NULL where there is no forecast: notes say why.',
    median Nullable(Float64) COMMENT 'More in half of the cases.',
    low80 Nullable(Float64) COMMENT 'Lower bound of the 80 % interval.',
    high80 Nullable(Float64) COMMENT 'Upper bound of the 80 % interval.',
    low95 Nullable(Float64) COMMENT 'Lower bound of the 95 % interval.',
    high95 Nullable(Float64) COMMENT 'Upper bound of the 95 % interval.',
    method LowCardinality(String) COMMENT 'The model that made it; none where there is no forecast.',
    baseline LowCardinality(String) COMMENT 'The better seasonal-naive forecast.',
    beats_baseline Bool COMMENT 'Whether the method was better than the baseline on the history; if not, the baseline is what is given.',
    relative_error Nullable(Float64) COMMENT 'Error on the history over the baseline''s: below 1 is better. NULL where it is not known.',
    coverage80 Nullable(Float64) COMMENT 'Share of hours of the history within the 80 % interval.',
    coverage95 Nullable(Float64) COMMENT 'The same of the 95 % interval.',
    known_hours UInt32 COMMENT 'Hours of history.',
    notes Array(String) COMMENT 'What limits it, a sentence each; why there is none.'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    as_of,
    as_of = (SELECT max(as_of) FROM forecasts) AS is_newest,
    tenant,
    model,
    figure,
    horizon_hours,
    if(known_hour = toDateTime(0, 'UTC'), NULL, known_hour) AS hour,
    if(isNull(hour), NULL, of_median) AS median,
    if(isNull(hour), NULL, of_low80) AS low80,
    if(isNull(hour), NULL, of_high80) AS high80,
    if(isNull(hour), NULL, of_low95) AS low95,
    if(isNull(hour), NULL, of_high95) AS high95,
    method,
    baseline,
    beats_baseline,
    if(baseline_error > 0, error / baseline_error, NULL) AS relative_error,
    coverage80,
    coverage95,
    known_hours,
    notes
FROM forecasts FINAL
LEFT ARRAY JOIN
    hours AS known_hour, forecasts.median AS of_median, forecasts.low80 AS of_low80, forecasts.high80 AS of_high80, forecasts.low95 AS of_low95,
    forecasts.high95 AS of_high95
COMMENT 'What is expected of each of the next hours, with intervals; kept for five weeks.';

CREATE OR REPLACE VIEW v_anomalies
(
    anomaly_id String COMMENT 'The same as long as it lasts.',
    tenant LowCardinality(String) COMMENT 'Of whom; empty for the whole platform and for models.',
    model LowCardinality(String) COMMENT 'Of which model; empty for all.',
    method LowCardinality(String) COMMENT 'seasonal (one figure against its own past) or joint (figures against each other).',
    figure LowCardinality(String) COMMENT 'requests, tokens, cost_usd, errors, latency_s, threats; joint for several together.',
    kind LowCardinality(String) COMMENT 'spike, dip, silence, shift (a day and more), drift (over weeks) or combination.',
    side LowCardinality(String) COMMENT 'above or below what was expected.',
    found_at DateTime('UTC') COMMENT 'End of the hour in which it could first be told, UTC.',
    began_at DateTime('UTC') COMMENT 'Start of its first hour, UTC.',
    ended_at DateTime('UTC') COMMENT 'End of its last hour so far, UTC.',
    lasts Bool COMMENT 'Whether it was not over when hours were judged last.',
    peak_at DateTime('UTC') COMMENT 'Start of its most unusual hour, UTC: observed, expected and bounds are of it.',
    observed Float64 COMMENT 'What came; for joint the squared distance.',
    expected Float64 COMMENT 'What was expected; for joint the median distance.',
    low Float64 COMMENT 'Lower bound of the 95 % interval.',
    high Float64 COMMENT 'Upper bound of the 95 % interval; for joint the 99.5th percentile.',
    score Float64 COMMENT '-log10 of the chance of what came; 99 at most.',
    total_observed Float64 COMMENT 'What came in all of its hours.',
    total_expected Float64 COMMENT 'What was expected in all of its hours.',
    drivers Array(Tuple(dimension String, value String, observed Float64, expected Float64, share Float64)) COMMENT 'What made the change: values of a dimension (tenant, model; for joint figure) with their share of it; empty where all changed alike.'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    anomaly_id, tenant, model, method, figure, kind, side, found_at, began_at, ended_at,
    kind != 'drift' AND ended_at >= (SELECT max(as_of) FROM forecasts) - INTERVAL 3 HOUR AS lasts,
    peak_at, observed, expected, low, high, score, total_observed, total_expected, drivers
FROM anomalies FINAL
COMMENT 'Hours that were not as they should be, merged into episodes, with what made them so.';

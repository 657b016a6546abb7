-- Pairs of a tenant's models: what is spent on the one, and what the other would have cost, with both their ratings.
SELECT tenant, model, other.1 AS cheaper_model, toFloat64(usd) AS usd, requests, usd_per_million_tokens, other.2 AS cheaper_usd_per_million_tokens, usd_per_million_tokens / cheaper_usd_per_million_tokens AS times,
    rated, good, other.3 AS cheaper_rated, other.4 AS cheaper_good, arrayMap(d -> by_day[toInt64(d)] * (1 - cheaper_usd_per_million_tokens / usd_per_million_tokens), range(toUInt64(dateDiff('day', {from:DateTime64(3, 'UTC')}, {to:DateTime64(3, 'UTC')})))) AS daily
FROM
(
    SELECT tenant, model, usd, requests, usd_per_million_tokens, rated, good, by_day,
        arrayJoin(groupArray((model, usd_per_million_tokens, rated, good)) OVER (PARTITION BY tenant)) AS other
    FROM
    (
        SELECT spent.tenant AS tenant, spent.model AS model, usd, requests, usd_per_million_tokens, rated, good, by_day
        FROM
        (
            SELECT tenant, toString(model) AS model, sum(toFloat64(ifNull(cost_usd, toDecimal64(0, 12)))) AS usd, count() AS requests, usd * 1000000 / sum(total_tokens) AS usd_per_million_tokens, sumMap(map(dateDiff('day', {from:DateTime64(3, 'UTC')}, completed_at), toFloat64(ifNull(cost_usd, toDecimal64(0, 12))))) AS by_day
            FROM v_requests
            WHERE completed_at >= {from:DateTime64(3, 'UTC')} AND completed_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') AND cost_usd > 0 AND outcome = 'completed'
            GROUP BY tenant, model
        ) AS spent
        INNER JOIN
        (
            SELECT tenant, rated_model AS model, count() AS rated, countIf(newest_rating = 1) AS good
            FROM v_feedback
            WHERE rated_at >= {from:DateTime64(3, 'UTC')} AND rated_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '')
            GROUP BY tenant, model
        ) AS said ON said.tenant = spent.tenant AND said.model = spent.model
    )
)
WHERE other.2 < usd_per_million_tokens
ORDER BY usd DESC, tenant, model, cheaper_model
LIMIT {limit:UInt32}

-- Tenants and models whose very same prompts, as they are stored, come again and again.
WITH sumMap(mapApply((day, usd) -> (day, usd * (times - 1) / times), days_of_prompt)) AS by_day
SELECT tenant, model, sum(times) AS texts, sum(times - 1) AS repeats, repeats / texts AS repeated_share, sum(usd_of_prompt * (times - 1) / times) AS usd, max(times) AS most_often, arrayMap(d -> by_day[toInt64(d)], range(toUInt64(dateDiff('day', {from:DateTime64(3, 'UTC')}, {to:DateTime64(3, 'UTC')})))) AS daily
FROM
(
    SELECT tenant, model, cityHash64(prompt_text) AS prompt, count() AS times, sum(toFloat64(ifNull(cost_usd, toDecimal64(0, 12)))) AS usd_of_prompt, sumMap(map(dateDiff('day', {from:DateTime64(3, 'UTC')}, completed_at), toFloat64(ifNull(cost_usd, toDecimal64(0, 12))))) AS days_of_prompt
    FROM v_requests
    WHERE completed_at >= {from:DateTime64(3, 'UTC')} AND completed_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') AND prompt_text IS NOT NULL AND outcome = 'completed'
    GROUP BY tenant, model, prompt
)
GROUP BY tenant, model
ORDER BY usd DESC, tenant, model
LIMIT {limit:UInt32}

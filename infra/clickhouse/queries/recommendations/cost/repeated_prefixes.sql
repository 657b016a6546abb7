-- Tenants and models with long prompts that begin with the same thousand characters, and are computed anew.
WITH sumMap(if(times >= 5, days_of_prefix, CAST(map(), 'Map(Int64, Float64)'))) AS by_day
SELECT tenant, model, sum(times) AS long_prompts, sumIf(times, times >= 5) AS alike, alike / long_prompts AS alike_share, sum(tokens) AS prompt_tokens, sum(cached) AS cached_tokens, 1 - cached_tokens / prompt_tokens AS computed_share, arrayMap(d -> by_day[toInt64(d)], range(toUInt64(dateDiff('day', {from:DateTime64(3, 'UTC')}, {to:DateTime64(3, 'UTC')})))) AS daily
FROM
(
    SELECT tenant, model, cityHash64(substringUTF8(assumeNotNull(prompt_text), 1, 1000)) AS prefix, count() AS times, sum(prompt_tokens) AS tokens, sum(cached_tokens) AS cached,
        sumMap(map(dateDiff('day', {from:DateTime64(3, 'UTC')}, completed_at), greatest(0., 1000 / prompt_chars * prompt_tokens - cached_tokens))) AS days_of_prefix
    FROM v_requests
    WHERE completed_at >= {from:DateTime64(3, 'UTC')} AND completed_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') AND prompt_chars >= 2000 AND lengthUTF8(prompt_text) >= 1000 AND outcome = 'completed'
    GROUP BY tenant, model, prefix
)
GROUP BY tenant, model
ORDER BY alike DESC, tenant, model
LIMIT {limit:UInt32}

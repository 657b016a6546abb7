-- Costs of tenants and models: the middle of the last seven days of the span against that of the days before.
WITH mapFromArrays(groupArray(dateDiff('day', {from:DateTime64(3, 'UTC')}, day)), groupArray(usd_of_day)) AS by_day
SELECT tenant, model, quantileExactIf(0.5)(usd_of_day, day >= toDate({to:DateTime64(3, 'UTC')} - INTERVAL 7 DAY)) AS lately, quantileExactIf(0.5)(usd_of_day, day < toDate({to:DateTime64(3, 'UTC')} - INTERVAL 7 DAY)) AS usual, uniqExactIf(day, day < toDate({to:DateTime64(3, 'UTC')} - INTERVAL 7 DAY)) AS days_before,
    uniqExactIf(day, day >= toDate({to:DateTime64(3, 'UTC')} - INTERVAL 7 DAY)) AS days_lately, lately - usual AS more, lately / usual AS times, arrayMap(d -> by_day[toInt64(d)], range(toUInt64(dateDiff('day', {from:DateTime64(3, 'UTC')}, {to:DateTime64(3, 'UTC')})))) AS daily
FROM
(
    SELECT tenant, model, day, sum(toFloat64(cost_usd)) AS usd_of_day
    FROM v_usage_daily
    WHERE day >= toDate({from:DateTime64(3, 'UTC')}) AND day < toDate({to:DateTime64(3, 'UTC')}) AND (tenant = {tenant:String} OR {tenant:String} = '')
    GROUP BY tenant, model, day
    HAVING usd_of_day > 0
)
GROUP BY tenant, model
HAVING days_lately > 0 AND days_before > 0
ORDER BY more DESC, tenant, model
LIMIT {limit:UInt32}

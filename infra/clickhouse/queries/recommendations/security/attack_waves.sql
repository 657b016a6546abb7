-- Kinds of attack by tenant in the last seven days of the span, against a usual week of the days before.
WITH sumMap(map(dateDiff('day', {from:DateTime64(3, 'UTC')}, hour), toFloat64(findings))) AS by_day
SELECT tenant, category, sumIf(findings, hour >= {to:DateTime64(3, 'UTC')} - INTERVAL 7 DAY) AS recent, (sum(findings) - recent) / greatest(1, dateDiff('day', {from:DateTime64(3, 'UTC')}, {to:DateTime64(3, 'UTC')}) - 7) AS usual_a_day,
    7 * usual_a_day AS usual, recent / greatest(usual, 5) AS times, arrayMap(d -> by_day[toInt64(d)], range(toUInt64(dateDiff('day', {from:DateTime64(3, 'UTC')}, {to:DateTime64(3, 'UTC')})))) AS daily
FROM v_threats
WHERE hour >= {from:DateTime64(3, 'UTC')} AND hour < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') AND level IN ('medium', 'high', 'critical')
GROUP BY tenant, category
HAVING recent > 0
ORDER BY recent DESC, tenant, category
LIMIT {limit:UInt32}

-- Tenants by how many of the findings in prompts that people judged were false alarms.
WITH sumMap(map(dateDiff('day', {from:DateTime64(3, 'UTC')}, given_at), toFloat64(verdict = 'false_alarm'))) AS by_day
SELECT tenant, count() AS judged, countIf(verdict = 'false_alarm') AS false_alarms, false_alarms / judged AS false_share, arrayMap(d -> by_day[toInt64(d)], range(toUInt64(dateDiff('day', {from:DateTime64(3, 'UTC')}, {to:DateTime64(3, 'UTC')})))) AS daily
FROM v_finding_feedback
WHERE given_at >= {from:DateTime64(3, 'UTC')} AND given_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') AND place = 'prompt'
GROUP BY tenant
ORDER BY false_alarms DESC, tenant
LIMIT {limit:UInt32}

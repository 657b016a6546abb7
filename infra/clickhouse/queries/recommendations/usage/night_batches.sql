-- API keys that ask mostly between 0 and 6 o'clock UTC, in the interactive lane.
WITH sumMap(map(dateDiff('day', {from:DateTime64(3, 'UTC')}, completed_at), toFloat64(toHour(completed_at) < 6))) AS by_day
SELECT tenant, key_id, count() AS requests, countIf(toHour(completed_at) < 6) AS at_night, at_night / requests AS night_share, uniqExactIf(toDate(completed_at), toHour(completed_at) < 6) AS nights, arrayMap(d -> by_day[toInt64(d)], range(toUInt64(dateDiff('day', {from:DateTime64(3, 'UTC')}, {to:DateTime64(3, 'UTC')})))) AS daily
FROM v_requests
WHERE completed_at >= {from:DateTime64(3, 'UTC')} AND completed_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') AND lane = 'interactive' AND NOT stream AND key_id IS NOT NULL AND key_id != 'DELETED'
GROUP BY tenant, key_id
ORDER BY at_night DESC, tenant, key_id
LIMIT {limit:UInt32}

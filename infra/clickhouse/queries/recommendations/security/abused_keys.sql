-- API keys with blocked requests, by how many.
WITH sumMap(map(dateDiff('day', {from:DateTime64(3, 'UTC')}, completed_at), toFloat64(outcome = 'blocked'))) AS by_day
SELECT tenant, key_id, count() AS requests, countIf(outcome = 'blocked') AS blocked, blocked / requests AS blocked_share, arrayMap(d -> by_day[toInt64(d)], range(toUInt64(dateDiff('day', {from:DateTime64(3, 'UTC')}, {to:DateTime64(3, 'UTC')})))) AS daily
FROM v_requests
WHERE completed_at >= {from:DateTime64(3, 'UTC')} AND completed_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') AND key_id IS NOT NULL AND key_id != 'DELETED'
GROUP BY tenant, key_id
HAVING blocked >= 5
ORDER BY blocked DESC, tenant, key_id
LIMIT {limit:UInt32}

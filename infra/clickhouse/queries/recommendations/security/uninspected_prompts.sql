-- Tenants by how many answered requests were not inspected.
WITH sumMap(map(dateDiff('day', {from:DateTime64(3, 'UTC')}, completed_at), toFloat64(risk_level IS NULL))) AS by_day
SELECT tenant, count() AS requests, countIf(risk_level IS NULL) AS uninspected, uninspected / requests AS uninspected_share, arrayMap(d -> by_day[toInt64(d)], range(toUInt64(dateDiff('day', {from:DateTime64(3, 'UTC')}, {to:DateTime64(3, 'UTC')})))) AS daily
FROM v_requests
WHERE completed_at >= {from:DateTime64(3, 'UTC')} AND completed_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') AND outcome IN ('completed', 'cache_hit')
GROUP BY tenant
ORDER BY uninspected DESC, tenant
LIMIT {limit:UInt32}

-- Tenants whose answers gave away secrets or personal data, with nothing done about it.
WITH sumMap(map(dateDiff('day', {from:DateTime64(3, 'UTC')}, found_at), toFloat64(1))) AS by_day
SELECT tenant, uniqExact(request_id) AS answers, count() AS leaks, arraySort(groupUniqArray(10)(toString(category))) AS categories, arrayMap(d -> by_day[toInt64(d)], range(toUInt64(dateDiff('day', {from:DateTime64(3, 'UTC')}, {to:DateTime64(3, 'UTC')})))) AS daily
FROM v_findings
WHERE found_at >= {from:DateTime64(3, 'UTC')} AND found_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') AND place = 'response' AND level IN ('medium', 'high', 'critical') AND action IN ('allowed', 'flagged')
GROUP BY tenant
ORDER BY answers DESC, tenant
LIMIT {limit:UInt32}

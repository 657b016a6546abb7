-- Models by how many of their requests have no known price.
WITH sumMap(map(dateDiff('day', {from:DateTime64(3, 'UTC')}, day), toFloat64(unpriced_requests))) AS by_day
SELECT model, sum(v_usage_daily.requests) AS requests, sum(unpriced_requests) AS unpriced, unpriced / requests AS unpriced_share, arrayMap(d -> by_day[toInt64(d)], range(toUInt64(dateDiff('day', {from:DateTime64(3, 'UTC')}, {to:DateTime64(3, 'UTC')})))) AS daily
FROM v_usage_daily
WHERE day >= toDate({from:DateTime64(3, 'UTC')}) AND day < toDate({to:DateTime64(3, 'UTC')}) AND (tenant = {tenant:String} OR {tenant:String} = '')
GROUP BY model
ORDER BY unpriced DESC, model
LIMIT {limit:UInt32}

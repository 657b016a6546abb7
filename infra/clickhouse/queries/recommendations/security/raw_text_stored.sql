-- Tenants whose policy keeps texts unmasked, and requests with text; what an installation keeps by default is not told.
WITH sumMap(map(dateDiff('day', {from:DateTime64(3, 'UTC')}, completed_at), toFloat64(prompt_text IS NOT NULL OR response_text IS NOT NULL))) AS by_day
SELECT tenant, countIf(prompt_text IS NOT NULL OR response_text IS NOT NULL) AS texts, count() AS requests, any(set_at) AS policy_set_at, arrayMap(d -> by_day[toInt64(d)], range(toUInt64(dateDiff('day', {from:DateTime64(3, 'UTC')}, {to:DateTime64(3, 'UTC')})))) AS daily
FROM v_requests
INNER JOIN
(
    SELECT object_id, argMax(after, (occurred_at, position)) AS policy, max(occurred_at) AS set_at
    FROM v_audit
    WHERE object_kind = 'policy' AND outcome = 'done' AND after != '' AND occurred_at < {to:DateTime64(3, 'UTC')}
    GROUP BY object_id
    HAVING JSONExtractString(policy, 'store_text') = 'raw' AND JSONExtractString(policy, 'deleted_at') = ''
) AS policies ON policies.object_id = tenant
WHERE completed_at >= {from:DateTime64(3, 'UTC')} AND completed_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '')
GROUP BY tenant
ORDER BY texts DESC, tenant
LIMIT {limit:UInt32}

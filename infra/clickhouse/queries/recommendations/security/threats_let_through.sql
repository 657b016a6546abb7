-- Tenants with prompts of high or critical risk that were served, and what people said of such findings.
WITH sumMap(map(dateDiff('day', {from:DateTime64(3, 'UTC')}, found_at), toFloat64(1))) AS by_day
SELECT tenant, uniqExact(request_id) AS let_through, countIf(verdict != '') AS judged, countIf(verdict = 'true_alarm') AS true_alarms, arrayMap(d -> by_day[toInt64(d)], range(toUInt64(dateDiff('day', {from:DateTime64(3, 'UTC')}, {to:DateTime64(3, 'UTC')})))) AS daily
FROM
(
    SELECT found.tenant AS tenant, found.request_id AS request_id, found.found_at AS found_at, said.verdict AS verdict
    FROM v_findings AS found
    LEFT JOIN v_finding_feedback AS said ON said.tenant = found.tenant AND said.finding_id = found.finding_id
    WHERE found.place = 'prompt' AND found.depth = 'inline' AND found.level IN ('high', 'critical') AND found.action IN ('allowed', 'flagged')
)
WHERE found_at >= {from:DateTime64(3, 'UTC')} AND found_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '')
GROUP BY tenant
ORDER BY let_through DESC, tenant
LIMIT {limit:UInt32}

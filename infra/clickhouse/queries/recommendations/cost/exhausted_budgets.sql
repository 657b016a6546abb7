-- Budgets that were spent before their period ended: in how many periods, and how long nothing, or nothing more, was to be had.
WITH groupArray((begin, end)) AS spans
SELECT tenant, budget, count() AS periods, sum(dateDiff('second', begin, end)) / 3600 AS hours, max(begin) AS newest,
    arrayMap(d -> arraySum(one -> greatest(0, dateDiff('second', greatest(one.1, {from:DateTime64(3, 'UTC')} + INTERVAL d DAY), least(one.2, {from:DateTime64(3, 'UTC')} + INTERVAL d + 1 DAY))), spans) / 3600, range(toUInt64(dateDiff('day', {from:DateTime64(3, 'UTC')}, {to:DateTime64(3, 'UTC')})))) AS daily
FROM
(
    SELECT tenant, extract(summary, 'of budget (.+) are spent') AS budget, greatest(began_at, {from:DateTime64(3, 'UTC')}) AS begin, least(ifNull(recovered_at, {to:DateTime64(3, 'UTC')}), {to:DateTime64(3, 'UTC')}) AS end
    FROM v_breaches
    WHERE metric = 'budget_share' AND threshold >= 1 AND began_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') AND ifNull(recovered_at, {to:DateTime64(3, 'UTC')}) >= {from:DateTime64(3, 'UTC')} AND summary != ''
)
GROUP BY tenant, budget
ORDER BY hours DESC, tenant, budget
LIMIT {limit:UInt32}

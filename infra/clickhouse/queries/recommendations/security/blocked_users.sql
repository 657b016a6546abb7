-- Tenants with users of whom a fifth and five or more requests were blocked.
WITH sumMap(days_of_user) AS by_day
SELECT tenant, count() AS users, sum(blocked_of_user) AS blocked, max(blocked_of_user) AS most_of_one, sum(requests_of_user) AS requests,
    arrayMap(d -> by_day[toInt64(d)], range(toUInt64(dateDiff('day', {from:DateTime64(3, 'UTC')}, {to:DateTime64(3, 'UTC')})))) AS daily
FROM
(
    SELECT tenant, user, countIf(outcome = 'blocked') AS blocked_of_user, count() AS requests_of_user, sumMap(map(dateDiff('day', {from:DateTime64(3, 'UTC')}, completed_at), toFloat64(outcome = 'blocked'))) AS days_of_user
    FROM v_requests
    WHERE completed_at >= {from:DateTime64(3, 'UTC')} AND completed_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') AND user IS NOT NULL AND user != 'DELETED'
    GROUP BY tenant, user
    HAVING blocked_of_user >= 5 AND blocked_of_user >= 0.2 * requests_of_user
)
GROUP BY tenant
ORDER BY blocked DESC, tenant
LIMIT {limit:UInt32}

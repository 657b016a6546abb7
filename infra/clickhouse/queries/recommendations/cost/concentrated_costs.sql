-- Tenants by the share of costs that one user makes.
SELECT tenant, count() AS users, sum(usd_of_user) AS usd, max(usd_of_user) AS usd_of_one, usd_of_one / usd AS share_of_one, argMax(main_model, usd_of_user) AS main_model, argMax(days_of_user, usd_of_user) AS by_day_of_one, arrayMap(d -> by_day_of_one[toInt64(d)], range(toUInt64(dateDiff('day', {from:DateTime64(3, 'UTC')}, {to:DateTime64(3, 'UTC')})))) AS daily
FROM
(
    SELECT tenant, user, sum(usd_of_model) AS usd_of_user, argMax(model, usd_of_model) AS main_model, sumMap(days_of_model) AS days_of_user
    FROM
    (
        SELECT tenant, user, toString(model) AS model, sum(toFloat64(cost_usd)) AS usd_of_model, sumMap(map(dateDiff('day', {from:DateTime64(3, 'UTC')}, day), toFloat64(cost_usd))) AS days_of_model
        FROM v_costs
        WHERE day >= toDate({from:DateTime64(3, 'UTC')}) AND day < toDate({to:DateTime64(3, 'UTC')}) AND (tenant = {tenant:String} OR {tenant:String} = '') AND user IS NOT NULL AND user != 'DELETED'
        GROUP BY tenant, user, model
    )
    GROUP BY tenant, user
)
GROUP BY tenant
ORDER BY usd_of_one DESC, tenant
LIMIT {limit:UInt32}

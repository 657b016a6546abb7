-- What each tenant spent.
SELECT tenant, sum(cost_usd) AS usd, sum(requests) AS request_count FROM v_costs WHERE day >= toDate({from:DateTime64(3, 'UTC')}, 'UTC') AND day < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') GROUP BY tenant ORDER BY usd DESC, tenant

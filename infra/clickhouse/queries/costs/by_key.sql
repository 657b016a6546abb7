-- What was spent with each API key.
SELECT tenant, key_id, sum(cost_usd) AS usd FROM v_costs WHERE day >= toDate({from:DateTime64(3, 'UTC')}, 'UTC') AND day < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') GROUP BY tenant, key_id ORDER BY usd DESC, tenant, key_id LIMIT {limit:UInt32}

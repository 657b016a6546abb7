-- What each model cost.
SELECT model, sum(cost_usd) AS usd FROM v_costs WHERE day >= toDate({from:DateTime64(3, 'UTC')}, 'UTC') AND day < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') GROUP BY model ORDER BY usd DESC, model

-- What each day (UTC) cost, and how many requests had no known price.
SELECT day, sum(cost_usd) AS usd, sum(unpriced_requests) AS unpriced
FROM v_costs WHERE day >= toDate({from:DateTime64(3, 'UTC')}, 'UTC') AND day < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') GROUP BY day ORDER BY day

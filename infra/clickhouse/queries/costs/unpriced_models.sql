-- Models whose requests have no known price.
SELECT model, sum(unpriced_requests) AS unpriced FROM v_costs WHERE day >= toDate({from:DateTime64(3, 'UTC')}, 'UTC') AND day < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') GROUP BY model HAVING unpriced > 0 ORDER BY unpriced DESC, model

-- Who asks most, with tokens and cost.
SELECT tenant, user, sum(requests) AS request_count, sum(prompt_tokens) + sum(completion_tokens) AS tokens, sum(cost_usd) AS usd
FROM v_users WHERE day >= toDate({from:DateTime64(3, 'UTC')}, 'UTC') AND day < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') GROUP BY tenant, user ORDER BY request_count DESC, tenant, user LIMIT {limit:UInt32}

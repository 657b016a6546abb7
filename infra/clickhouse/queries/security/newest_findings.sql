-- The newest findings of a level of at least medium.
SELECT found_at, tenant, request_id, category, level, action FROM v_findings
WHERE level IN ('medium', 'high', 'critical') AND found_at >= {from:DateTime64(3, 'UTC')} AND found_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') ORDER BY found_at DESC LIMIT {limit:UInt32}

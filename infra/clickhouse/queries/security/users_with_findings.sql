-- Users of whom most was found.
SELECT tenant, user, count() AS findings, max(score) AS worst FROM v_findings
WHERE user != '' AND found_at >= {from:DateTime64(3, 'UTC')} AND found_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') GROUP BY tenant, user ORDER BY findings DESC, tenant, user LIMIT {limit:UInt32}

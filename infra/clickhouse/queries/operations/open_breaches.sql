-- Thresholds that are crossed now, with request ids that show it.
SELECT began_at, metric, value, threshold, severity, model, tenant, summary, examples FROM v_breaches WHERE recovered_at IS NULL AND (tenant = {tenant:String} OR {tenant:String} = '') ORDER BY began_at DESC, metric, model, tenant LIMIT {limit:UInt32}

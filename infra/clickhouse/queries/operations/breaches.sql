-- Thresholds that were crossed.
SELECT began_at, metric, value, threshold, recovered_at FROM v_breaches WHERE began_at >= {from:DateTime64(3, 'UTC')} AND began_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') ORDER BY began_at DESC LIMIT {limit:UInt32}

-- Requests that took more than one replica.
SELECT request_id, model, attempts, outcome FROM v_requests WHERE attempts > 1 AND completed_at >= {from:DateTime64(3, 'UTC')} AND completed_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') ORDER BY completed_at DESC LIMIT {limit:UInt32}

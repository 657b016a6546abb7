-- The slowest requests of five seconds and more, with where the time went.
SELECT request_id, model, duration_ms, queue_ms, prefill_ms, generation_ms FROM v_slow_requests
WHERE completed_at >= {from:DateTime64(3, 'UTC')} AND completed_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') ORDER BY duration_ms DESC LIMIT {limit:UInt32}

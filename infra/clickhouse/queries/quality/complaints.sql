-- The newest answers that were rated bad, with what was written.
SELECT rated_at, tenant, request_id, newest_comment FROM v_feedback
WHERE newest_rating < 0 AND rated_at >= {from:DateTime64(3, 'UTC')} AND rated_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') ORDER BY rated_at DESC LIMIT {limit:UInt32}

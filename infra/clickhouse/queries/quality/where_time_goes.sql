-- Mean milliseconds in the queue, to the first token and in all, by model.
SELECT model, avg(queue_ms) AS queue, avg(ttft_ms) AS ttft, avg(duration_ms) AS duration FROM v_requests
WHERE outcome = 'completed' AND completed_at >= {from:DateTime64(3, 'UTC')} AND completed_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') GROUP BY model ORDER BY model

-- How long requests waited, by model and lane.
SELECT model, lane, sum(requests) AS queued, max(queue_max_ms) AS longest_ms FROM v_queue WHERE hour >= {from:DateTime64(3, 'UTC')} AND hour < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') GROUP BY model, lane ORDER BY model, lane

-- Kinds of errors by model: hours in which they were half of all requests, at least twenty.
WITH sumMap(map(dateDiff('day', {from:DateTime64(3, 'UTC')}, hour), toFloat64(errors))) AS by_day
SELECT model, error_code, countIf(is_burst) AS hours, sumIf(errors, is_burst) AS errors_in_bursts, sum(errors) AS errors_in_all, max(errors / requests) AS worst_share, maxIf(hour, is_burst) AS newest_burst, arrayMap(d -> by_day[toInt64(d)], range(toUInt64(dateDiff('day', {from:DateTime64(3, 'UTC')}, {to:DateTime64(3, 'UTC')})))) AS daily
FROM
(
    SELECT model, if(outcome IN ('failed', 'expired'), toString(ifNull(error_code, outcome)), '') AS error_code, toStartOfHour(completed_at) AS hour, count() AS errors,
        sum(count()) OVER (PARTITION BY model, hour) AS requests, errors >= 20 AND errors * 2 >= requests AS is_burst
    FROM v_requests
    WHERE completed_at >= {from:DateTime64(3, 'UTC')} AND completed_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '')
    GROUP BY model, error_code, hour
)
WHERE error_code != ''
GROUP BY model, error_code
HAVING hours > 0
ORDER BY errors_in_bursts DESC, model, error_code
LIMIT {limit:UInt32}

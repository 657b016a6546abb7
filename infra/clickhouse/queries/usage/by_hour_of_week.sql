-- When in the week requests come: weekday (1 is Monday) and hour, UTC.
SELECT toDayOfWeek(hour) AS weekday, toHour(hour) AS hour_of_day, sum(requests) AS request_count
FROM v_usage_hourly WHERE hour >= {from:DateTime64(3, 'UTC')} AND hour < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') GROUP BY weekday, hour_of_day ORDER BY weekday, hour_of_day

-- How many findings of each kind people called false alarms.
SELECT category, countIf(verdict = 'false_alarm') AS false_alarms, count() AS judged FROM v_finding_feedback
WHERE given_at >= {from:DateTime64(3, 'UTC')} AND given_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') GROUP BY category ORDER BY category

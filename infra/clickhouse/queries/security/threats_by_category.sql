-- What kinds of attacks were found, and how bad.
SELECT category, level, sum(findings) AS n FROM v_threats WHERE hour >= {from:DateTime64(3, 'UTC')} AND hour < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') GROUP BY category, level ORDER BY n DESC, category, level

-- The share of rated answers that were rated good, by model.
SELECT model, sum(ratings) AS rated, sum(positive) / rated AS share_good FROM v_quality WHERE hour >= {from:DateTime64(3, 'UTC')} AND hour < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') GROUP BY model ORDER BY model

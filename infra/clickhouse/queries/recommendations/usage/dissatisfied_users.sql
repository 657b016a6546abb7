-- Models by the share of answers that were rated bad.
WITH sumMap(map(dateDiff('day', {from:DateTime64(3, 'UTC')}, hour), toFloat64(ratings - positive))) AS bad_by_day, sumMap(map(dateDiff('day', {from:DateTime64(3, 'UTC')}, hour), toFloat64(ratings))) AS all_by_day
SELECT model, sum(quality.ratings) AS rated, rated - sum(quality.positive) AS bad, bad / rated AS bad_share, sum(quality.comments) AS with_comment,
    arrayMap(d -> if(all_by_day[toInt64(d)] >= 3, bad_by_day[toInt64(d)] / all_by_day[toInt64(d)], NULL), range(toUInt64(dateDiff('day', {from:DateTime64(3, 'UTC')}, {to:DateTime64(3, 'UTC')})))) AS daily
FROM v_quality AS quality
WHERE hour >= {from:DateTime64(3, 'UTC')} AND hour < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') AND model != ''
GROUP BY model
ORDER BY bad DESC, model
LIMIT {limit:UInt32}

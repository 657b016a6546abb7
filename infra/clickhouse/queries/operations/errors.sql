-- What goes wrong, by its code and model.
SELECT error_code, model, count() AS n FROM v_errors WHERE completed_at >= {from:DateTime64(3, 'UTC')} AND completed_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') GROUP BY error_code, model ORDER BY n DESC, error_code, model

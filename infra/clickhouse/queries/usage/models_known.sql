-- Each model since its first request, with what a million of its tokens cost.
SELECT tenant, model, requests, error_rate, usd_per_million_tokens FROM v_models WHERE (tenant = {tenant:String} OR {tenant:String} = '') ORDER BY tenant, model

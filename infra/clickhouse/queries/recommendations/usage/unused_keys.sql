-- Tenants with API keys that were used before and not in the last thirty days of the span, and are not revoked as far as the audit tells.
SELECT tenant, count() AS keys, arraySlice(arraySort(groupArray(key_id)), 1, 20) AS key_ids, max(used_at) AS last_used_at, sum(requests_of_key) AS requests
FROM
(
    SELECT tenant, assumeNotNull(toString(key_id)) AS key_id, max(completed_at) AS used_at, count() AS requests_of_key
    FROM v_requests
    WHERE completed_at >= {from:DateTime64(3, 'UTC')} AND completed_at < {to:DateTime64(3, 'UTC')} AND (tenant = {tenant:String} OR {tenant:String} = '') AND key_id IS NOT NULL AND key_id != 'DELETED'
    GROUP BY tenant, key_id
    HAVING used_at < {to:DateTime64(3, 'UTC')} - INTERVAL 30 DAY AND requests_of_key >= 10
) AS used
LEFT ANTI JOIN
(
    SELECT object_id FROM v_audit WHERE object_kind = 'key' AND outcome = 'done' AND action IN ('key.revoked', 'key.deleted', 'key.purged')
) AS ended ON ended.object_id = used.key_id
GROUP BY tenant
ORDER BY keys DESC, tenant
LIMIT {limit:UInt32}

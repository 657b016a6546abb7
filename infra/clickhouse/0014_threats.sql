-- What security analysis found, as people and the forecast read it. A finding about behaviour names the request that showed it; one about a key has no user.
ALTER TABLE security_findings
    COMMENT COLUMN found_at 'When the request ended that showed it.',
    COMMENT COLUMN user 'A pseudonym; empty where the client named no user, and for findings about an API key.',
    COMMENT COLUMN request_id 'The x-request-id; for findings about behaviour that of the request that showed it.',
    COMMENT COLUMN masked_text 'The text without personal data and secrets, of a long one what is near the strongest rule; NULL for behaviour.',
    COMMENT COLUMN neighbours 'Earlier requests of the user at about that time, or those that the finding rests on, as JSON: request id, similarity, what was thought of it.';

CREATE OR REPLACE VIEW v_findings AS
SELECT
    found_at, tenant, user, key_id, request_id, model, finding_id, place, depth, category, level, score, probability, action, rule_names, rules,
    detector_version, rules_version, explanation, masked_text, neighbours
FROM security_findings;

-- Threats by the hour. A request counts once in `requests`, whatever was found in it.
CREATE OR REPLACE VIEW v_threats AS
SELECT
    toStartOfHour(found_at) AS hour,
    tenant,
    category,
    level,
    count() AS findings,
    uniqExact(request_id) AS requests,
    uniqExactIf(user, user != '') AS users
FROM security_findings
GROUP BY hour, tenant, category, level;

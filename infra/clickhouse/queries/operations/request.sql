-- Everything that is stored of one request, in order of time.
SELECT at, event, detail, value, unit FROM v_request_events
WHERE request_id = {request_id:String} ORDER BY at IS NULL, at, step

-- The figures of a batch: the newest review of each document, what the ledger booked, how long it ran.
WITH reviews AS (
    SELECT max(e.id) AS id, q.data -> 'data' -> 'input' ->> 'document' AS document
    FROM executions e JOIN journal q ON q.root_id = e.id AND q.seq = 1
    WHERE q.data -> 'data' -> 'input' ->> 'batch' = {batch}
    GROUP BY document
), moments AS (
    SELECT root_id, type, at - lag(at, 1, at) OVER (PARTITION BY root_id ORDER BY seq) AS passed FROM journal
)
SELECT r.document, e.status,
    e.finished -> 'output' ->> 'risk_score' AS risk,
    json_array_length(e.finished, '$.output.issues') AS issues,
    (SELECT sum(c.input_tokens + c.output_tokens) FROM costs c WHERE c.root_id = r.id) AS tokens,
    (SELECT iif(count(*) = count(c.cost_nanos), sum(c.cost_nanos) / 1e9, NULL) FROM costs c WHERE c.root_id = r.id) AS dollars,
    (SELECT sum(m.passed) / 1e6 FROM moments m WHERE m.root_id = r.id AND m.type <> 'execution.resumed') AS seconds
FROM reviews r JOIN executions e ON e.id = r.id
ORDER BY risk DESC, document;

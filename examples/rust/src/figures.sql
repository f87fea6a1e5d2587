-- The figures of a batch: each document as its newest review left it, what the ledger booked, how long it ran.
WITH asked AS (
    SELECT e.id, d.key AS place, d.value ->> 'document' AS document
    FROM executions e JOIN journal q ON q.root_id = e.id AND q.seq = 1, json_each(q.data -> 'data' -> 'input' -> 'documents') d
    WHERE q.data -> 'data' -> 'input' ->> 'batch' = {batch} AND d.value ->> 'verdict' IS NULL
), reviews AS (
    SELECT max(id) AS id, 'each/' || place AS path, document FROM asked GROUP BY document
), agents AS (
    SELECT DISTINCT r.document, r.id AS root_id, n.data -> 'data' ->> 'child_id' AS id
    FROM reviews r JOIN journal n ON n.root_id = r.id AND n.path = r.path AND n.type = 'node.started'
    WHERE n.data -> 'data' ->> 'child_id' IS NOT NULL
), events AS (
    SELECT r.document, j.seq, j.at, (SELECT count(*) FROM journal x
        WHERE x.root_id = r.id AND x.type = 'execution.resumed' AND x.seq <= j.seq) AS process
    FROM reviews r JOIN journal j ON j.root_id = r.id
    WHERE j.execution_id = r.id AND (j.path = r.path OR j.path LIKE r.path || '/%')
        OR j.execution_id IN (SELECT a.id FROM agents a WHERE a.document = r.document)
), moments AS (
    SELECT document, at - lag(at, 1, at) OVER (PARTITION BY document, process ORDER BY seq) AS passed FROM events
), ends AS (
    SELECT r.document, n.data -> 'data' AS end
    FROM reviews r JOIN journal n ON n.root_id = r.id AND n.path = r.path AND n.type = 'item.finished'
)
SELECT r.document, coalesce(n.end ->> 'status', e.status) AS status,
    n.end -> 'output' ->> 'risk_score' AS risk,
    json_array_length(n.end, '$.output.issues') AS issues,
    (SELECT sum(c.input_tokens + c.output_tokens) FROM costs c JOIN agents a ON a.id = c.execution_id
        WHERE a.document = r.document) AS tokens,
    (SELECT iif(count(*) = count(c.cost_nanos), sum(c.cost_nanos) / 1e9, NULL) FROM costs c JOIN agents a ON a.id = c.execution_id
        WHERE a.document = r.document) AS dollars,
    (SELECT sum(m.passed) / 1e6 FROM moments m WHERE m.document = r.document) AS seconds
FROM reviews r JOIN executions e ON e.id = r.id LEFT JOIN ends n ON n.document = r.document
ORDER BY risk DESC, r.document;

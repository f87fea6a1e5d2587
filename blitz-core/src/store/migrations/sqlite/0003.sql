-- Workflows: their drafts are resources, their published versions are resource_versions.

-- What runs changes with each publication.
CREATE TRIGGER resource_versions_insert_counts AFTER INSERT ON resource_versions BEGIN UPDATE catalog_state SET generation = generation + 1; END;
CREATE TRIGGER resource_versions_no_update BEFORE UPDATE ON resource_versions
    BEGIN SELECT RAISE(ABORT, 'a published version is never changed'); END;

CREATE VIEW workflows AS SELECT r.id, r.name, r.owner_id, r.visibility, r.revision, r.created_at, r.updated_at,
    (SELECT max(v.version) FROM resource_versions v WHERE v.resource_id = r.id) AS version,
    json_array_length(d.body, '$.nodes') AS nodes_count, json_array_length(d.body, '$.edges') AS edges_count,
    d.body ->> 'description' AS description
    FROM resources r JOIN definitions d ON d.hash = r.hash WHERE r.kind = 'workflow' AND r.deleted_at IS NULL;

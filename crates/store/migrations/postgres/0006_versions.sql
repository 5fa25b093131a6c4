-- Whoever follows the live rows compares their versions, and the search for orphans reads the tombstones, without
-- touching the rows themselves.
CREATE INDEX instances_versions ON instances (id, version, deleted_at) WHERE deleted_at IS NULL;
CREATE INDEX instances_tombstones ON instances (id, keep_volumes, deleted_at) WHERE deleted_at IS NOT NULL;

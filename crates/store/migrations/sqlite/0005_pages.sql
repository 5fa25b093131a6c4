-- Lists are paged by name: of everybody's, of a project's, in a state, or both. Each has an index in its own order.
DROP INDEX instances_project;
CREATE INDEX instances_project_name ON instances (project_id, name) WHERE deleted_at IS NULL;
CREATE INDEX instances_state_name ON instances (state, name) WHERE deleted_at IS NULL;
CREATE INDEX instances_project_state_name ON instances (project_id, state, name) WHERE deleted_at IS NULL;

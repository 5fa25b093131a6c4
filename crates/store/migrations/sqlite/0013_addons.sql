-- Databases beside agents: what each is, and the agent that it belongs to, once there is one.
ALTER TABLE instances ADD COLUMN addon TEXT;
ALTER TABLE instances ADD COLUMN addon_of TEXT;
CREATE INDEX instances_addons ON instances (addon_of) WHERE addon_of IS NOT NULL AND deleted_at IS NULL;

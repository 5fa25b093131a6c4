-- Since when a project has been at its quota of disk; whoever is to know was told then.
ALTER TABLE quotas ADD COLUMN disk_reached_at BIGINT;

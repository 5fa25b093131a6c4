-- A domain that a project wants for one of its instances. Several projects may wait for the same one; one holds it.
CREATE TABLE domains (
    project_id TEXT NOT NULL REFERENCES projects (id),
    domain TEXT NOT NULL,
    instance_id TEXT NOT NULL,
    -- What the TXT record has to hold. Public, once it is set.
    token TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    since INTEGER NOT NULL,
    last_check INTEGER,
    next_check INTEGER,
    wrong_since INTEGER,
    wrong_checks INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (project_id, domain)
) STRICT;
CREATE UNIQUE INDEX domains_holder ON domains (domain) WHERE state IN ('verified', 'active');
CREATE INDEX domains_instance ON domains (instance_id, domain);
CREATE INDEX domains_due ON domains (next_check) WHERE next_check IS NOT NULL;

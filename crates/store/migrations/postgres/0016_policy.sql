-- Who may do what: rules at three levels, groups of accounts, questions to people, and a record of every decision.
CREATE TABLE policy_rules (
    id TEXT COLLATE "C" PRIMARY KEY,
    level TEXT NOT NULL CONSTRAINT policy_rules_level_check CHECK (level IN ('system', 'project', 'instance')),
    project_id TEXT REFERENCES projects (id),
    instance_id TEXT,
    -- Effect, action, subject, resources, conditions, note: JSON.
    body TEXT NOT NULL,
    -- When it ends by itself; also in `body`.
    until BIGINT,
    -- The question that it answers, if a person has granted it.
    approval_id TEXT,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX policy_rules_project ON policy_rules (project_id);
CREATE INDEX policy_rules_instance ON policy_rules (instance_id);
CREATE INDEX policy_rules_until ON policy_rules (until) WHERE until IS NOT NULL;

CREATE TABLE groups (
    id TEXT COLLATE "C" PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX groups_name ON groups (name);

CREATE TABLE group_members (
    group_id TEXT NOT NULL REFERENCES groups (id),
    user_id TEXT NOT NULL REFERENCES users (id),
    added_at BIGINT NOT NULL,
    PRIMARY KEY (group_id, user_id)
);
CREATE INDEX group_members_user ON group_members (user_id);

-- A group as a member of a project: all in it have at least this role there.
CREATE TABLE project_groups (
    project_id TEXT NOT NULL REFERENCES projects (id),
    group_id TEXT NOT NULL REFERENCES groups (id),
    role TEXT NOT NULL,
    added_at BIGINT NOT NULL,
    PRIMARY KEY (project_id, group_id)
);
CREATE INDEX project_groups_group ON project_groups (group_id);

-- Append-only: what was asked, what was decided, and why. No payloads, no queries, no secrets. The id begins with the time.
CREATE TABLE audit (
    id TEXT COLLATE "C" PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    project_id TEXT,
    instance_id TEXT,
    task_id TEXT,
    action TEXT NOT NULL,
    resource TEXT NOT NULL,
    decision TEXT NOT NULL CONSTRAINT audit_decision_check CHECK (decision IN ('allow', 'deny', 'ask')),
    rule_id TEXT,
    level TEXT NOT NULL,
    why TEXT NOT NULL,
    credential TEXT,
    request_id TEXT,
    address TEXT,
    -- How what was allowed ended; filled in once, later.
    status BIGINT,
    bytes_in BIGINT,
    bytes_out BIGINT,
    millis BIGINT
);
CREATE INDEX audit_project ON audit (project_id, id) WHERE project_id IS NOT NULL;
CREATE INDEX audit_instance ON audit (instance_id, id) WHERE instance_id IS NOT NULL;
CREATE TABLE audit_horizon (
    id BIGINT PRIMARY KEY CONSTRAINT audit_horizon_one CHECK (id = 1),
    -- What is older may be deleted.
    at BIGINT NOT NULL
);
INSERT INTO audit_horizon (id, at) VALUES (1, 0);
CREATE FUNCTION audit_horizon_refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the horizon of the audit never goes back'; END $$;
CREATE TRIGGER audit_horizon_grows BEFORE UPDATE ON audit_horizon FOR EACH ROW WHEN (NEW.at < OLD.at)
    EXECUTE FUNCTION audit_horizon_refuse();
CREATE TRIGGER audit_horizon_stays BEFORE DELETE OR TRUNCATE ON audit_horizon FOR EACH STATEMENT
    EXECUTE FUNCTION audit_horizon_refuse();
CREATE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the audit is append-only'; END $$;
CREATE FUNCTION audit_beyond_horizon() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.at >= coalesce((SELECT at FROM audit_horizon), 0) THEN
        RAISE EXCEPTION 'the audit is append-only';
    END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_beyond_horizon();
CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only();
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit FOR EACH ROW
    WHEN (OLD.millis IS NOT NULL OR NEW.millis IS NULL
        OR (OLD.id, OLD.at, OLD.actor, OLD.action, OLD.resource, OLD.decision, OLD.level, OLD.why)
            IS DISTINCT FROM (NEW.id, NEW.at, NEW.actor, NEW.action, NEW.resource, NEW.decision, NEW.level, NEW.why)
        OR (OLD.project_id, OLD.instance_id, OLD.task_id, OLD.rule_id, OLD.credential, OLD.request_id, OLD.address)
            IS DISTINCT FROM
            (NEW.project_id, NEW.instance_id, NEW.task_id, NEW.rule_id, NEW.credential, NEW.request_id, NEW.address))
    EXECUTE FUNCTION audit_append_only();

-- Questions to people.
CREATE TABLE approvals (
    id TEXT COLLATE "C" PRIMARY KEY,
    -- Who asks for what: the same again is the same question.
    question TEXT NOT NULL,
    state TEXT NOT NULL CONSTRAINT approvals_state_check CHECK (state IN ('open', 'granted', 'refused', 'expired')),
    -- Whose answer it takes.
    level TEXT NOT NULL,
    actor TEXT NOT NULL,
    project_id TEXT REFERENCES projects (id),
    instance_id TEXT,
    task_id TEXT,
    user_id TEXT,
    action TEXT NOT NULL,
    resource TEXT NOT NULL,
    -- The rule that a grant makes, without its end: JSON.
    body TEXT NOT NULL,
    -- In the asker's words, not to be believed.
    reason TEXT NOT NULL,
    times BIGINT NOT NULL,
    asked_at BIGINT NOT NULL,
    -- When nobody is asked any more.
    expires_at BIGINT NOT NULL,
    decided_by TEXT,
    decided_at BIGINT,
    -- Until when it is granted.
    until BIGINT,
    rule_id TEXT
);
CREATE UNIQUE INDEX approvals_open ON approvals (question) WHERE state = 'open';
CREATE INDEX approvals_project ON approvals (project_id, id);
CREATE INDEX approvals_question ON approvals (question, decided_at);
CREATE INDEX approvals_actor ON approvals (actor, asked_at);
CREATE INDEX approvals_instance ON approvals (instance_id) WHERE state = 'open';
CREATE INDEX approvals_expiry ON approvals (expires_at) WHERE state = 'open';
CREATE INDEX approvals_decided ON approvals (decided_at) WHERE state <> 'open';

-- An artifact on its way: from the promise of an upload to a release.
CREATE TABLE deployments (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES projects (id),
    -- The instance that it makes or changes; known for certain once the manifest is read.
    name TEXT,
    state TEXT NOT NULL,
    message TEXT,
    -- The account whose rights the release has.
    user_id TEXT NOT NULL,
    -- What the signed URL is bound to.
    upload_until INTEGER NOT NULL,
    max_size INTEGER NOT NULL,
    wanted_sha256 TEXT,
    -- Where the artifact is, once it is here.
    blob TEXT,
    size INTEGER,
    sha256 TEXT,
    cancel_wanted INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX deployments_project ON deployments (project_id, id);
CREATE INDEX deployments_state ON deployments (state);

-- What a deployment says while it is worked on, bounded for each.
CREATE TABLE deployment_lines (
    deployment_id TEXT NOT NULL,
    line INTEGER NOT NULL,
    at INTEGER NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (deployment_id, line)
) STRICT;

-- What was once asked of an instance, by the generation that it became. All but the state and its reason never change.
CREATE TABLE revisions (
    instance_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    spec TEXT NOT NULL,
    manifest TEXT,
    deployment_id TEXT,
    image_id TEXT,
    image_digest TEXT,
    state TEXT NOT NULL,
    reason TEXT,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (instance_id, number)
) STRICT;
CREATE INDEX revisions_deployment ON revisions (deployment_id);

-- Repositories of which the engine may hold an image that was fetched with a login.
CREATE TABLE private_images (
    -- As `ImageRef::repository` writes it.
    repository TEXT NOT NULL,
    -- The instance that is fetching with a login; empty once one has.
    fetching TEXT NOT NULL,
    PRIMARY KEY (repository, fetching)
) STRICT;;

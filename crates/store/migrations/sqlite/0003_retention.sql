-- Old events may go, from the oldest on: up to a horizon that is set in the same transaction and never goes back.
-- All else of the log stays as it was written.
CREATE TABLE event_horizon (
    id INTEGER PRIMARY KEY CONSTRAINT event_horizon_one CHECK (id = 1),
    -- Events up to this number may be deleted.
    seq INTEGER NOT NULL
) STRICT;
INSERT INTO event_horizon (id, seq) VALUES (1, 0);
CREATE TRIGGER event_horizon_grows BEFORE UPDATE ON event_horizon WHEN NEW.seq < OLD.seq
    BEGIN SELECT RAISE(ABORT, 'the horizon of events never goes back'); END;
CREATE TRIGGER event_horizon_stays BEFORE DELETE ON event_horizon
    BEGIN SELECT RAISE(ABORT, 'the horizon of events never goes back'); END;
DROP TRIGGER events_no_delete;
CREATE TRIGGER events_no_delete BEFORE DELETE ON events
    WHEN OLD.seq > coalesce((SELECT seq FROM event_horizon), 0)
    BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;

-- Old events may go, from the oldest on: up to a horizon that is set in the same transaction and never goes back.
-- All else of the log stays as it was written.
CREATE TABLE event_horizon (
    id BIGINT PRIMARY KEY CONSTRAINT event_horizon_one CHECK (id = 1),
    -- Events up to this number may be deleted.
    seq BIGINT NOT NULL
);
INSERT INTO event_horizon (id, seq) VALUES (1, 0);
CREATE FUNCTION event_horizon_refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the horizon of events never goes back'; END $$;
CREATE TRIGGER event_horizon_grows BEFORE UPDATE ON event_horizon FOR EACH ROW WHEN (NEW.seq < OLD.seq)
    EXECUTE FUNCTION event_horizon_refuse();
CREATE TRIGGER event_horizon_stays BEFORE DELETE OR TRUNCATE ON event_horizon FOR EACH STATEMENT
    EXECUTE FUNCTION event_horizon_refuse();
CREATE FUNCTION events_beyond_horizon() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.seq > coalesce((SELECT seq FROM event_horizon), 0) THEN
        RAISE EXCEPTION 'events are append-only';
    END IF;
    RETURN OLD;
END $$;
DROP TRIGGER events_no_delete ON events;
CREATE TRIGGER events_no_delete BEFORE DELETE ON events FOR EACH ROW EXECUTE FUNCTION events_beyond_horizon();

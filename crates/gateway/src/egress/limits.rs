//! Every bound of the egress proxy in one place.

use std::time::Duration;

/// Bounds on callers and on what they reach. All are safe to leave as they are.
#[derive(Clone, Debug)]
pub struct EgressLimits {
    /// Open connections of all instances together; beyond it none is accepted until one closes.
    pub connections: usize,
    /// Open connections of one instance (one source address); beyond it 503.
    pub connections_per_instance: usize,
    /// Requests and tunnels under way of one instance; 503 beyond.
    pub in_flight_per_instance: usize,
    /// Time for a whole request head, and for the first bytes of a tunnel.
    pub header_timeout: Duration,
    /// Bytes of one head, both ways. At least 8 KiB.
    pub header_bytes: usize,
    /// Body bytes of one request; 413 beyond. Of a tunnel: bytes out, then it is cut.
    pub request_body: u64,
    /// Body bytes of one answer, or bytes in by one tunnel; cut beyond.
    pub response_body: u64,
    /// The largest request body in which placeholders are replaced (or that is signed); 413 beyond.
    pub rewritten_body: usize,
    /// HTTP/2 streams of one connection.
    pub streams_per_connection: u32,
    /// How long a connection without a request under way is kept.
    pub keep_alive: Duration,
    /// How long an exchange or tunnel may go without a byte in either direction.
    pub idle: Duration,
    /// How long an exchange or tunnel may take in all.
    pub total: Duration,
    /// Time to resolve a name, and to connect and shake hands.
    pub connect_timeout: Duration,
    /// Time for an answer to begin, counted from the last sign of life of the request's body.
    pub response_timeout: Duration,
    /// How long one direction of a tunnel lives on after the other was closed.
    pub half_closed: Duration,
    /// Certificates kept for hosts that are looked into.
    pub certificates: usize,
}

impl Default for EgressLimits {
    fn default() -> Self {
        Self {
            connections: 4096,
            connections_per_instance: 256,
            in_flight_per_instance: 256,
            header_timeout: Duration::from_secs(15),
            header_bytes: 64 * 1024,
            request_body: 4 * 1024 * 1024 * 1024,
            response_body: 16 * 1024 * 1024 * 1024,
            rewritten_body: 1024 * 1024,
            streams_per_connection: 128,
            keep_alive: Duration::from_secs(75),
            idle: Duration::from_mins(10),
            total: Duration::from_hours(12),
            connect_timeout: Duration::from_secs(10),
            response_timeout: Duration::from_mins(10),
            half_closed: Duration::from_secs(30),
            certificates: 1024,
        }
    }
}

impl EgressLimits {
    /// As the supervisor of connections reads them.
    pub(crate) fn for_supervisor(&self) -> crate::limits::Limits {
        crate::limits::Limits {
            header_timeout: self.header_timeout,
            keep_alive: self.keep_alive,
            stream_idle: self.idle,
            ..crate::limits::Limits::default()
        }
    }

    pub(crate) fn head(&self) -> usize {
        self.header_bytes.max(8192)
    }
}

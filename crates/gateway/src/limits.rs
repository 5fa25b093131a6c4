//! Every bound of the data plane in one place, with defaults that suit a small server.

use std::time::Duration;

/// Bounds on clients, requests and agents. All are safe to leave as they are.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open client connections, all addresses together; beyond it none is accepted until one closes.
    pub connections: usize,
    /// Open client connections from one address (IPv6: one /64); beyond it 503. Trusted proxies are exempt.
    pub connections_per_address: usize,
    /// Time for a client to send a whole request head, from its first byte (for the first request: from connecting).
    pub header_timeout: Duration,
    /// Bytes of one request head to an agent; 431 beyond. At least 8 KiB.
    pub header_bytes: usize,
    /// Bytes of one request head to the control plane, and the most that is read of any; 431 beyond.
    pub control_header_bytes: usize,
    /// Body bytes of one request to an agent; 413 beyond.
    pub request_body: u64,
    /// Requests under way to one instance, tunnels included; 503 beyond.
    pub in_flight_per_instance: usize,
    /// HTTP/2 streams of one client connection.
    pub streams_per_connection: u32,
    /// How long a client connection without a request under way is kept.
    pub keep_alive: Duration,
    /// How long an exchange or tunnel may go without a byte in either direction.
    pub stream_idle: Duration,
    /// Time to connect to an agent.
    pub connect_timeout: Duration,
    /// Time for an agent to begin its answer, counted from the last sign of life of the request's body.
    pub response_timeout: Duration,
    /// Connections to one endpoint; 503 beyond.
    pub connections_per_endpoint: usize,
    /// Unused connections kept for one endpoint.
    pub idle_per_endpoint: usize,
    /// How long an unused connection to an agent is kept.
    pub idle_timeout: Duration,
    /// How long a request waits for a sleeping agent before it gets a waiting page.
    pub wake_timeout: Duration,
    /// How long one direction of a tunnel lives on after the other was closed.
    pub half_closed: Duration,
}

impl Limits {
    /// The most that is read of any head; who it is for is known only then.
    pub(crate) fn longest_head(&self) -> usize {
        self.control_header_bytes.max(self.header_bytes).max(8192)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_address: 256,
            header_timeout: Duration::from_secs(15),
            header_bytes: 64 * 1024,
            // A payment by a wallet stands in a header, with all the transactions that prove it.
            control_header_bytes: 512 * 1024,
            request_body: 1024 * 1024 * 1024,
            in_flight_per_instance: 256,
            streams_per_connection: 128,
            keep_alive: Duration::from_secs(75),
            stream_idle: Duration::from_mins(10),
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_mins(5),
            connections_per_endpoint: 512,
            idle_per_endpoint: 64,
            idle_timeout: Duration::from_secs(30),
            wake_timeout: Duration::from_secs(20),
            half_closed: Duration::from_secs(30),
        }
    }
}

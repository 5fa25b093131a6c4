//! Instances from creation to deletion.

mod bad_bodies;
mod create;
mod engine;
mod exits;
mod gpus;
mod inside;
mod lifecycle;
mod rollout;
mod servers;
mod update;

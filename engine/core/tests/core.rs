//! Stories of the core: what watchers are told, on one shard and on several.

#[path = "bodies/schema.rs"]
mod schema;
#[path = "bodies/xml.rs"]
mod xml;

mod stories {
    mod applied;
    mod bounds;
    mod dialects;
    mod dialogs;
    mod drained;
    mod edges;
    mod lamps;
    mod latencies;
    mod list_bodies;
    mod list_changes;
    mod lists;
    mod mailboxes;
    mod publications;
    mod published_calls;
    mod publisher;
    mod races;
    mod registrations;
    mod restart;
    mod servers;
    mod silence;
    mod transports;
    mod world;
}

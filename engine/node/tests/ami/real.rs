//! Real shards without sockets: each in a loop on a thread of its own, joined by queues.

use std::time::Instant;

use lampfield::channel::{FromShard, ToShard};
use lampfield_core::{Input, Outputs, Shard, ShardSetup, Time};

/// One shard's thread: handles until it is told to stop.
pub(crate) fn run_shard(
    setup: ShardSetup,
    inbox: &async_channel::Receiver<ToShard>,
    shards: &[async_channel::Sender<ToShard>],
    to_control: &async_channel::Sender<FromShard>,
) {
    let id = setup.id;
    let start = Instant::now();
    let mut shard = Shard::new(setup);
    let mut out = Outputs::default();
    shard.handle(Input::Tick, Time::ZERO, &mut out);
    loop {
        // To the other shards first, so that whoever got an answer knows that they are told.
        for (to, message) in out.to_shards.drain(..) {
            let batch = ToShard::Mesh(id, vec![message]);
            // A shard that has ended needs nothing any more; the same holds for the control plane.
            let _ = shards[usize::from(to.0)].send_blocking(batch);
        }
        for news in [
            FromShard::Events(std::mem::take(&mut out.events)),
            FromShard::Replies(std::mem::take(&mut out.replies)),
        ] {
            let _ = to_control.send_blocking(news);
        }
        out.clear();
        let Ok(message) = inbox.recv_blocking() else { break };
        let now = Time::from_nanos(start.elapsed().as_nanos() as u64);
        match message {
            ToShard::Mesh(from, messages) => {
                for message in messages {
                    shard.handle(Input::Shard { from, message }, now, &mut out);
                }
            }
            ToShard::Command(command) => shard.handle(Input::Command(command), now, &mut out),
            ToShard::Change(id, command) => {
                shard.handle(Input::Change { id, command }, now, &mut out);
            }
            ToShard::Query(id, query) => shard.handle(Input::Query { id, query }, now, &mut out),
            // There are no sockets here; that one is answered is what the console needs.
            ToShard::Figures(id) => {
                let _ = to_control.send_blocking(FromShard::Figures(id, vec![("turn", 1)]));
            }
            ToShard::Stop => break,
            other => panic!("nobody sends {other:?}"),
        }
    }
}

//! The kernel gives every answer, and a refresh that names our Contact, to the shard it belongs to:
//! what `core` writes into branch and tag is what the program of `net` reads.

use lampfield_core::config::Dialect;

use crate::lab::{Lab, Setup};
use crate::phone::Phone;

const LAMPS: [&str; 8] = ["lamp0", "lamp1", "lamp2", "lamp3", "lamp4", "lamp5", "lamp6", "lamp7"];

#[test]
fn answers_and_refreshes_come_to_their_shard() {
    for (shard_count, dialect) in
        [(2, Dialect::Rfc), (3, Dialect::Rfc), (2, Dialect::Asterisk), (3, Dialect::Asterisk)]
    {
        let setup = Setup { shard_count, dialect: Some(dialect), ..Setup::default() };
        let mut lab = Lab::start(&setup);
        // Many ports: a hash would bring about half of them to the wrong shard.
        let mut phones: Vec<Phone> = LAMPS
            .iter()
            .flat_map(|lamp| (0..4).map(|_| Phone::new(lab.address, [127, 0, 0, 1], lamp)))
            .collect();
        for phone in &mut phones {
            assert_eq!(phone.subscribe(600)["status"], "200");
            phone.notify();
        }
        let phone_count = phones.len() as u64;
        lab.wait_for("notify_acked", phone_count);
        let before = lab.counter("forwarded");
        assert!(before > 0, "the first SUBSCRIBE of a phone comes to any shard");
        for phone in &mut phones {
            assert_eq!(phone.subscribe(600)["status"], "200");
            phone.notify();
        }
        lab.wait_for("notify_acked", 2 * phone_count);
        assert_eq!(lab.counter("response_forwarded"), 0, "{shard_count} {dialect:?}");
        if dialect == Dialect::Rfc {
            assert_eq!(lab.counter("forwarded"), before, "{shard_count} shards");
        }
        lab.stop();
    }
}

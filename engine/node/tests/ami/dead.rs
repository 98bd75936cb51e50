//! A control plane whose shards have ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lampfield::config::{AmiConfig, AmiUser, NodeConfig};
use lampfield::control::{Control, ControlSetup, Shutdown};
use lampfield_core::config::{Config, Tenant};
use lampfield_core::placement::Placement;

use crate::harness::{Client, value};
use crate::lab::{CONSOLE, scratch};

#[test]
fn dead_shards_cost_an_error_not_the_server() {
    let dir = scratch("dead");
    let placement = Placement::new(2);
    // Their ends of the queues are gone.
    let shards = placement.shards().map(|_| async_channel::bounded(1).0).collect();
    let (_to_control, from_shards) = async_channel::bounded(1);
    let all = u64::MAX >> 1;
    let (name, secret) = ("lab".to_owned(), "lab".to_owned());
    let user = AmiUser { name, secret, read: all, write: all, ..AmiUser::default() };
    let bind = Some(([127, 0, 0, 1], 0).into());
    let config = NodeConfig {
        core: Arc::new(Config { tenants: vec![Tenant::default()], ..Config::default() }),
        listen: Vec::new(),
        shard_count: Some(2),
        ami: Some(AmiConfig { bind, users: vec![user], ..AmiConfig::default() }),
        mirrors: Vec::new(),
        console_socket: dir.join(CONSOLE),
        state_dir: None,
        syncs_always: false,
        user: None,
        core_dumps: false,
    };
    let shutdown = Shutdown::default();
    let setup = ControlSetup {
        config,
        placement,
        shards,
        from_shards,
        reload: Arc::new(|_| anyhow::bail!("no files")),
        records: None,
        shutdown: shutdown.clone(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let control = runtime.block_on(Control::bind(setup)).unwrap();
    let address = control.ami_address().unwrap();
    let client = std::thread::spawn(move || {
        let mut client = Client::connect(address);
        let login = client.ask("Action: Login\r\nUsername: lab\r\nSecret: lab\r\nEvents: off");
        assert_eq!(value(&login, "Message"), "Authentication accepted");
        let since = Instant::now();
        let get = "Action: Getvar\r\nVariable: DEVICE_STATE(Custom:lamp0)";
        assert_eq!(value(&client.ask(get), "Value"), "");
        let reply = client.ask("Action: DeviceStateList");
        assert_eq!(value(&reply, "Response"), "Error");
        assert!(since.elapsed() < Duration::from_secs(5), "a queue that ended is known at once");
        assert_eq!(value(&client.ask("Action: Ping"), "Ping"), "Pong");
        shutdown.request();
    });
    runtime.block_on(control.run()).unwrap();
    client.join().unwrap();
    std::fs::remove_dir_all(dir).unwrap();
}

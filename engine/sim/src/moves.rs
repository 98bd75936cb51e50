//! Every move the world can make while there is trouble.

use std::time::Duration;

use lampfield_core::command::Command;
use lampfield_core::package::Package;
use lampfield_core::placement::TenantId;
use lampfield_core::state::{DeviceState, Presence, PresenceState};

use crate::lists::{HOST, ListSource};
use crate::model::Model;
use crate::phone::{Stage, Watch, Wish};
use crate::queue::Due;
use crate::world::World;

/// How long the node stays down at most.
pub(crate) const DOWN_MAX: Duration = Duration::from_secs(3);

/// The longest distance between NOTIFYs that a phone asks for: `max-rate=0.8`.
pub(crate) const RATE_GAP_MAX: Duration = Duration::from_millis(1250);

/// A message longer than anybody reads.
const LONG: &str = match str::from_utf8(&[b'x'; 900]) {
    Ok(text) => text,
    Err(_) => "",
};

impl World {
    /// Makes one move and plans the next.
    pub(crate) fn next_move(&mut self) -> Result<(), String> {
        if self.is_calm {
            return Ok(());
        }
        let mean_us = self.plan.move_every.as_micros() as u64;
        let pause = Duration::from_micros(self.rng.u64(1..=2 * mean_us));
        self.queue.push(self.now + pause, Due::Move);
        match self.rng.u8(..100) {
            0..=34 => self.change_device(),
            35..=46 => self.change_presence(),
            47..=51 => self.burst(),
            52..=84 => self.move_phone(),
            85..=87 => self.move_power(),
            88..=93 if self.plan.is_attacked => self.attack(),
            94..=96 if self.plan.has_reloads => self.reload(),
            97..=98 if self.plan.has_restarts && self.node_is_up => self.kill(),
            _ => self.move_phone(),
        }
        self.audit.check_answers(self.now)
    }

    /// Changes a random device.
    pub(crate) fn change_device(&mut self) {
        let names = Model::device_names();
        let device = names[self.rng.usize(..names.len())];
        let tenant = self.rng.u16(..2);
        // UNKNOWN is not a state that can be set.
        let state = DeviceState::ALL[self.rng.usize(1..9)];
        self.set_device(tenant, device, state);
    }

    fn set_device(&mut self, tenant: u16, device: &str, state: DeviceState) {
        if !self.node_is_up {
            return;
        }
        let owner = self.cluster.placement.shard_of_source(TenantId(tenant), device);
        let tenant = TenantId(tenant);
        self.command(owner, Command::SetDevice { tenant, device: device.into(), state });
    }

    /// Changes a random presentity.
    pub(crate) fn change_presence(&mut self) {
        if !self.node_is_up {
            return;
        }
        let names = Model::presence_names();
        let name = names[self.rng.usize(..names.len())];
        let texts = ["", "", "lunch", "back <soon> & well", LONG];
        let presence = Presence {
            state: PresenceState::ALL[self.rng.usize(..7)],
            subtype: texts[self.rng.usize(..4)].into(),
            message: texts[self.rng.usize(..texts.len())].into(),
        };
        let tenant = self.rng.u16(..2);
        let owner = self.cluster.placement.shard_of_source(TenantId(tenant), name);
        let written =
            format!("{},{},{}", presence.state.token(), presence.subtype, presence.message);
        self.command(
            owner,
            Command::SetPresence {
                tenant: TenantId(tenant),
                presentity: name.into(),
                presence,
                written: written.into(),
            },
        );
    }

    /// One device changes several times within a round trip.
    fn burst(&mut self) {
        let names = Model::device_names();
        let device = names[self.rng.usize(..names.len())];
        let tenant = self.rng.u16(..2);
        for _ in 0..self.rng.usize(2..6) {
            let state = DeviceState::ALL[self.rng.usize(1..9)];
            self.set_device(tenant, device, state);
        }
    }

    fn move_phone(&mut self) {
        let index = self.rng.usize(..self.phones.len());
        let now = self.now;
        if !self.phones[index].is_up {
            return;
        }
        let dialog_count = self.phones[index].dialogs.len();
        let choice = self.rng.u8(..10);
        if dialog_count == 0 || dialog_count < 3 && choice < 4 {
            let wish = self.wish(index);
            let pace = self.pace_of(&wish);
            let call_id = self.phones[index].subscribe(wish, now, &mut self.rng);
            self.audit.expect_pace(call_id, pace);
        } else {
            let at = self.rng.usize(..dialog_count);
            let expires_s = self.rng.u32(5..=self.plan.expires_max_s);
            let source = self.request_list(index);
            let phone = &mut self.phones[index];
            let dialog = &phone.dialogs[at];
            let is_request = matches!(dialog.watch, Watch::List(ListSource::Request(_)));
            match choice {
                _ if matches!(dialog.stage, Stage::Gone(_)) => drop(phone.dialogs.swap_remove(at)),
                4..=5 => phone.refresh(at, 0, now, &mut self.rng),
                0..=2 if is_request => {
                    phone.replace_list(at, source, expires_s, now, &mut self.rng);
                }
                _ => phone.refresh(at, expires_s, now, &mut self.rng),
            }
        }
        self.after_phone(index);
    }

    /// What a phone may want to watch.
    fn wish(&mut self, phone: usize) -> Wish {
        let (tenant, is_rfc) = (self.phones[phone].tenant(), self.phones[phone].is_rfc());
        let expires_s = match self.rng.u8(..12) {
            // An Asterisk refuses to fetch.
            0 => 0,
            _ => self.rng.u32(5..=self.plan.expires_max_s),
        };
        let (watch, user, package) = match self.rng.u8(..20) {
            0 => (Watch::Nobody, "999".to_owned(), None),
            1..=2 if self.plan.has_lists && is_rfc => {
                let package = [Package::Presence, Package::Dialog][self.rng.usize(..2)];
                (Watch::List(self.request_list(phone)), "rls".to_owned(), Some(package))
            }
            3..=12 if self.plan.has_lists => {
                let lists = &self.model.lists;
                let own: Vec<usize> =
                    (0..lists.len()).filter(|list| lists[*list].tenant == tenant).collect();
                let at = own[self.rng.usize(..own.len())];
                let watch = Watch::List(ListSource::Configured(at));
                (watch, lists[at].name.clone(), Some(lists[at].package))
            }
            _ => {
                let hints: Vec<usize> = (0..self.model.hints.len())
                    .filter(|hint| self.model.hints[*hint].tenant == tenant)
                    .collect();
                let hint = hints[self.rng.usize(..hints.len())];
                (Watch::Hint(hint), self.model.hints[hint].exten.clone(), None)
            }
        };
        let rates = ["", "", "", "2", "0.8"];
        let has_rate = self.plan.has_lists && is_rfc;
        let max_rate = if has_rate { rates[self.rng.usize(..rates.len())] } else { "" };
        Wish { watch, user, package, expires_s, max_rate }
    }

    /// Least distance between what a watcher is told of mere changes.
    fn pace_of(&self, wish: &Wish) -> Duration {
        let gap = match wish.max_rate {
            "" => Duration::ZERO,
            "2" => Duration::from_millis(500),
            _ => RATE_GAP_MAX,
        };
        let batch_interval = match &wish.watch {
            // The rest of what did not fit does not wait for the interval.
            Watch::List(ListSource::Configured(at)) if !self.plan.may_split() => {
                self.model.lists[*at].batch_interval
            }
            _ => Duration::ZERO,
        };
        gap.max(batch_interval)
    }

    /// A list that a request carries.
    fn request_list(&mut self, phone: usize) -> ListSource {
        let tenant = self.phones[phone].tenant();
        let extens: Vec<&str> = self.model.extens_of(tenant).collect();
        let entries = (0..self.rng.usize(0..6)).map(|_| {
            let exten = extens[self.rng.usize(..extens.len())];
            let uri = match self.rng.u8(..10) {
                0 => format!("sip:{exten}@elsewhere.example.com"),
                1 => format!("sip:999@{HOST}"),
                _ => format!("sip:{exten}@{HOST}"),
            };
            (uri, [None, Some("One & <only>")][self.rng.usize(..2)])
        });
        ListSource::Request(entries.collect())
    }

    fn move_power(&mut self) {
        let index = self.rng.usize(..self.phones.len());
        let phone = &mut self.phones[index];
        if phone.is_up {
            phone.crash();
        } else {
            phone.is_up = true;
        }
    }

    fn attack(&mut self) {
        let phone = self.rng.usize(..self.phones.len());
        let address = self.phones[phone].address;
        for _ in 0..self.rng.usize(1..6) {
            let (peer, bytes) = self.attacker.packet(address, &mut self.rng);
            self.queue.push(self.now, Due::ToNode { peer, bytes });
        }
    }

    fn reload(&mut self) {
        if !self.node_is_up {
            return;
        }
        if self.model.lists.is_empty() || self.rng.bool() {
            self.change_hint();
        }
        if !self.model.lists.is_empty() && self.rng.bool() {
            self.change_list();
        }
        let config = self.model.config();
        for shard in self.cluster.placement.shards() {
            self.command(shard, Command::Reload(config.clone()));
        }
        self.audit.reloaded(self.now);
    }

    fn change_hint(&mut self) {
        let at = self.rng.usize(..self.model.hints.len());
        let hint = &mut self.model.hints[at];
        if hint.pattern {
            return;
        }
        if self.rng.bool() {
            hint.present = !hint.present;
            self.disrupted_at = Some(self.now);
        }
        if self.rng.u8(..4) == 0 {
            hint.display_name = [None, Some("Desk"), Some("Meeting room")][self.rng.usize(..3)];
        }
        hint.choose_sources(&mut self.rng);
    }

    fn change_list(&mut self) {
        let at = self.rng.usize(..self.model.lists.len());
        let mut list = self.model.lists[at].clone();
        match self.rng.u8(..8) {
            0 => list.present = !list.present,
            1 => list.full_state = !list.full_state,
            2 => list.display_names = !list.display_names,
            3 => list.is_slow = !list.is_slow,
            4 => self.rng.shuffle(&mut list.items),
            _ => list.choose_items(&self.model, &mut self.rng),
        }
        self.model.lists[at] = list;
        self.disrupted_at = Some(self.now);
    }

    /// After a start, those who report on devices that are not kept report again, and so do those
    /// whose last command may not have reached the disk.
    pub(crate) fn report_again(&mut self) {
        let unsure_since = self.now - (self.plan.commit_lag + DOWN_MAX);
        let again: Vec<(u16, Command)> = self
            .model
            .taken
            .iter()
            .filter(|((_, name), (at, _))| !name.starts_with("Custom") || *at >= unsure_since)
            .map(|((tenant, _), (_, command))| (*tenant, command.clone()))
            .collect();
        for (tenant, command) in again {
            let (Command::SetDevice { device: name, .. }
            | Command::SetPresence { presentity: name, .. }) = &command
            else {
                continue;
            };
            let owner = self.cluster.placement.shard_of_source(TenantId(tenant), name);
            self.command(owner, command);
        }
    }

    /// Every device changes: the last thing watchers must hear of.
    pub(crate) fn change_every_device(&mut self) {
        for tenant in 0..2 {
            for device in Model::device_names() {
                let before = self.model.devices.get(&(tenant, device.to_owned())).copied();
                let states = DeviceState::ALL.into_iter().skip(1);
                let mut others: Vec<_> = states.filter(|state| Some(*state) != before).collect();
                self.rng.shuffle(&mut others);
                self.set_device(tenant, device, others[0]);
            }
        }
    }
}

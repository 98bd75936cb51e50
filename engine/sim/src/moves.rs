//! Every move the world can make while there is trouble.

use std::time::Duration;

use lampfield_core::command::Command;
use lampfield_core::placement::TenantId;
use lampfield_core::state::{DeviceState, Presence, PresenceState};

use crate::model::Model;
use crate::queue::Due;
use crate::world::World;

/// How long the node stays down at most.
pub(crate) const DOWN_MAX: Duration = Duration::from_secs(3);

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
        let (now, tenant) = (self.now, self.phones[index].tenant());
        if !self.phones[index].is_up {
            return;
        }
        let phone = &mut self.phones[index];
        let dialog_count = phone.dialogs.len();
        let choice = self.rng.u8(..10);
        if dialog_count == 0 || dialog_count < 3 && choice < 4 {
            let hints: Vec<usize> = (0..self.model.hints.len())
                .filter(|hint| self.model.hints[*hint].tenant == tenant)
                .collect();
            let hint = hints[self.rng.usize(..hints.len())];
            let expires_s = match self.rng.u8(..12) {
                0 => 0,
                _ => self.rng.u32(5..=self.plan.expires_max_s),
            };
            if self.rng.u8(..20) == 0 {
                phone.subscribe(None, "999", expires_s, now, &mut self.rng);
            } else {
                let exten = &self.model.hints[hint].exten;
                phone.subscribe(Some(hint), exten, expires_s, now, &mut self.rng);
            }
        } else {
            let at = self.rng.usize(..dialog_count);
            let is_gone = matches!(phone.dialogs[at].stage, crate::phone::Stage::Gone(_));
            match choice {
                _ if is_gone => drop(phone.dialogs.swap_remove(at)),
                4..=5 => phone.refresh(at, 0, now, &mut self.rng),
                _ => {
                    let expires_s = self.rng.u32(5..=self.plan.expires_max_s);
                    phone.refresh(at, expires_s, now, &mut self.rng);
                }
            }
        }
        self.after_phone(index);
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
        let at = self.rng.usize(..self.model.hints.len());
        let hint = &mut self.model.hints[at];
        if !hint.pattern {
            hint.toggled = true;
            if self.rng.bool() {
                hint.present = !hint.present;
            }
            hint.choose_sources(&mut self.rng);
        }
        let config = self.model.config();
        for shard in self.cluster.placement.shards() {
            self.command(shard, Command::Reload(config.clone()));
        }
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

//! `[[mirror]]` in `lampfield.toml`.

use std::path::Path;
use std::time::Duration;

use toml::Spanned;

use super::super::load::AMI_PORT;
use super::super::mirror::{self, MirrorConfig, MirrorLogin, NamePatterns, Secret, StalePolicy};
use super::Native;
use super::file::Mirror;

/// Seconds an option may have: a day.
const SECONDS_MAX: u32 = 86_400;

/// Bytes of a file with a secret.
const SECRET_BYTES_MAX: u64 = 4096;

impl Native<'_> {
    /// Takes the mirrors over; files they name are looked for from `near`.
    pub(super) fn mirrors(&mut self, mirrors: Vec<Spanned<Mirror>>, near: &Path) {
        for entry in &mirrors {
            let error_count = self.draft.problems.errors.len();
            if let Some(mirror) = self.mirror(entry, near)
                && self.draft.problems.errors.len() == error_count
            {
                self.draft.mirrors.push(mirror);
            }
        }
    }

    fn mirror(&mut self, entry: &Spanned<Mirror>, near: &Path) -> Option<MirrorConfig> {
        let file = entry.get_ref();
        let default = MirrorConfig::default();
        let address = mirror::address(file.address.get_ref(), AMI_PORT);
        if address.is_none() {
            self.error(&file.address, "HOST or HOST:PORT expected");
        }
        let name = file.name.as_ref().map(|name| name.get_ref().clone());
        let name = name.unwrap_or_else(|| file.address.get_ref().clone());
        if name.is_empty() || self.draft.mirrors.iter().any(|mirror| mirror.name == name) {
            self.error(entry, format!("'{name}' is no name, or that of another mirror"));
        }
        if file.user.get_ref().is_empty() {
            self.error(&file.user, "the name of a manager user expected");
        }
        let (retry, retry_max) = (
            self.seconds(file.retry_s.as_ref(), 1, default.retry),
            self.seconds(file.retry_max_s.as_ref(), 1, default.retry_max),
        );
        if retry_max < retry {
            self.error(entry, "retry_max_s is less than retry_s");
        }
        Some(MirrorConfig {
            name,
            address: address?,
            user: file.user.get_ref().clone(),
            secret: self.secret(entry, near)?,
            login: self.login(file.login.as_ref()),
            tenants: self.mirror_tenants(entry)?,
            devices: self.name_patterns(&file.devices),
            presentities: self.name_patterns(&file.presentities),
            stale: self.policy(file.stale.as_ref())?,
            stale_after: self.seconds(file.stale_after_s.as_ref(), 0, default.stale_after),
            retry,
            retry_max,
            ping: self.seconds(file.ping_s.as_ref(), 1, default.ping),
            answer: self.seconds(file.answer_s.as_ref(), 1, default.answer),
            resync: self.seconds(file.resync_s.as_ref(), 0, default.resync),
            name_count_max: self
                .positive(file.name_count_max.as_ref())
                .map_or(default.name_count_max, |count| count as usize),
        })
    }

    fn mirror_tenants(
        &mut self,
        entry: &Spanned<Mirror>,
    ) -> Option<Vec<lampfield_core::placement::TenantId>> {
        let file = entry.get_ref();
        if file.tenants.is_empty() {
            let tenants = self.tenants_of(file.tenant.as_ref(), entry);
            return (!tenants.is_empty()).then_some(tenants);
        }
        if let Some(tenant) = &file.tenant {
            self.error(tenant, "either tenant or tenants expected");
        }
        let found: Vec<_> = file.tenants.iter().map(|name| self.find_tenant(name)).collect();
        let mut tenants: Vec<_> = found.into_iter().collect::<Option<_>>()?;
        tenants.sort_unstable();
        tenants.dedup();
        Some(tenants)
    }

    fn secret(&mut self, entry: &Spanned<Mirror>, near: &Path) -> Option<Secret> {
        let file = entry.get_ref();
        match (&file.secret, &file.secret_file) {
            (Some(secret), None) if !secret.get_ref().is_empty() => {
                return Some(Secret(secret.get_ref().clone()));
            }
            (Some(secret), None) => self.error(secret, "a secret that is not empty expected"),
            (None, Some(path)) => match read_secret(&near.join(path.get_ref())) {
                Ok(secret) => return Some(Secret(secret)),
                Err(why) => self.error(path, format!("{}: {why}", path.get_ref().display())),
            },
            _ => self.error(entry, "either secret or secret_file expected"),
        }
        None
    }

    fn login(&mut self, name: Option<&Spanned<String>>) -> MirrorLogin {
        let Some(name) = name else { return MirrorLogin::Md5 };
        match name.get_ref().as_str() {
            "md5" => {}
            "plain" => return MirrorLogin::Plain,
            _ => self.error(name, "login = \"md5\" or \"plain\" expected"),
        }
        MirrorLogin::Md5
    }

    fn policy(&mut self, name: Option<&Spanned<String>>) -> Option<StalePolicy> {
        let Some(name) = name else { return Some(MirrorConfig::default().stale) };
        let found = StalePolicy::ALL.iter().find(|(_, token)| token == name.get_ref());
        if found.is_none() {
            self.error(name, "stale = \"keep\", \"unknown\" or \"unavailable\" expected");
        }
        found.map(|(policy, _)| *policy)
    }

    fn name_patterns(&mut self, names: &[Spanned<String>]) -> NamePatterns {
        for name in names.iter().filter(|name| name.get_ref().trim_start_matches('!').is_empty()) {
            self.error(name, "a name expected, in which * stands for any text");
        }
        NamePatterns::new(names.iter().map(|name| name.get_ref().clone()).collect())
    }

    fn seconds(&mut self, number: Option<&Spanned<u32>>, min: u32, default: Duration) -> Duration {
        let Some(number) = number else { return default };
        if !(min..=SECONDS_MAX).contains(number.get_ref()) {
            self.error(number, format!("a number of seconds from {min} to {SECONDS_MAX} expected"));
        }
        Duration::from_secs((*number.get_ref()).into())
    }
}

/// The first line of a file.
fn read_secret(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?.len();
    if size > SECRET_BYTES_MAX {
        return Err(format!("{size} bytes are no secret; at most {SECRET_BYTES_MAX}"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
    match text.lines().next().map(str::trim_end) {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err("the first line is empty; a secret expected".to_owned()),
    }
}

//! Tenants, providers, contexts and hints of `lampfield.toml`.

use std::path::Path;
use std::sync::Arc;

use lampfield_core::config::{self, CallDetails, Combination};
use lampfield_core::dialplan::{self, DialplanError, Globals, Template, split_range};
use lampfield_core::placement::TenantId;
use lampfield_core::provider::{self, ProviderKind};
use lampfield_core::state::DeviceState;
use lampfield_net::tls::CertificateFiles;
use toml::Spanned;

use super::file::{Context, Hint, HintRange, KindName, Pattern, Provider, Tenant};
use super::{EVERY_TENANT, Native};

impl Native<'_> {
    pub(super) fn tenants(&mut self, tenants: Vec<Tenant>, near: &Path) {
        for tenant in tenants {
            let name = tenant.name.get_ref();
            if name == EVERY_TENANT {
                self.error(&tenant.name, "'*' stands for every tenant: another name expected");
            } else if name.is_empty() || self.draft.find_tenant(name).is_some() {
                let text = format!("'{name}' is no name, or that of another [[tenant]]");
                self.error(&tenant.name, text);
            } else {
                let domain = tenant.domain.as_ref().map(|domain| domain.get_ref().as_str());
                if domain.is_some_and(|d| d.is_empty() || d.contains(|c: char| !is_host_char(c))) {
                    let domain = domain.unwrap_or_default();
                    self.error(&tenant.name, format!("domain '{domain}' is no host name"));
                }
                let (name, domain) = (name.as_str().into(), domain.map(Arc::from));
                self.certificate(&tenant, near);
                let publications = publications(&tenant);
                let new = config::Tenant { name, domain, publications, is_gone: false };
                if self.draft.add_tenant(new).is_none() {
                    let text = format!("there are or were more than {} tenants", u16::MAX);
                    self.error(&tenant.name, text);
                }
            }
        }
    }

    /// A tenant's certificate is shown by its domain.
    fn certificate(&mut self, tenant: &Tenant, near: &Path) {
        match (&tenant.certificate, &tenant.private_key, &tenant.domain) {
            (None, None, _) => {}
            (Some(chain), Some(key), Some(domain)) => {
                let [chain, key] = [chain, key].map(|path| near.join(path.get_ref()));
                let files = CertificateFiles { chain, key };
                self.draft.certificates.push((domain.get_ref().clone(), files));
            }
            _ => {
                let text = "certificate, private_key and domain expected together";
                self.error(&tenant.name, text);
            }
        }
    }

    pub(super) fn providers(&mut self, providers: Vec<Provider>) {
        for provider in providers {
            let label = provider.label.get_ref();
            if label.is_empty() || label.len() > 39 || label.contains(['/', ':', ',', '&']) {
                self.error(
                    &provider.label,
                    format!("'{label}' is no label: 1 to 39 bytes without / : , & expected"),
                );
                continue;
            }
            let initial = provider.initial.as_ref().map_or(Some(DeviceState::Unknown), |text| {
                let state = DeviceState::from_token(text.get_ref());
                let is_known = text.get_ref().eq_ignore_ascii_case(state.token());
                is_known.then_some(state)
            });
            let Some(initial) = initial else {
                let tokens = DeviceState::ALL.map(DeviceState::token).join(", ");
                if let Some(text) = &provider.initial {
                    self.error(text, format!("'{}': one of {tokens} expected", text.get_ref()));
                }
                continue;
            };
            let names = |names: Vec<String>| names.into_iter().map(Arc::from).collect();
            self.draft.core.providers.add(provider::Provider {
                label: label.as_str().into(),
                kind: match provider.kind {
                    KindName::Technology => ProviderKind::Technology,
                    KindName::Device => ProviderKind::Device,
                    KindName::Presence => ProviderKind::Presence,
                },
                settable: provider.settable,
                initial,
                names: provider.names.map(names),
            });
        }
    }

    pub(super) fn contexts(&mut self, contexts: Vec<Context>) {
        for context in contexts {
            for tenant in self.tenants_of(context.tenant.as_ref(), &context.name) {
                self.context(tenant, &context);
            }
        }
    }

    fn context(&mut self, tenant: TenantId, context: &Context) {
        let name = context.name.get_ref();
        let result = self.draft.core.dialplan.add_context(tenant, name);
        self.dialplan(&context.name, result);
        for included in &context.include {
            let dialplan = &mut self.draft.core.dialplan;
            let result = dialplan.add_include(tenant, name, included.get_ref());
            self.dialplan(included, result);
        }
        if context.autohints {
            let result = self.draft.core.dialplan.set_autohints(tenant, name);
            self.dialplan(&context.name, result);
        }
    }

    pub(super) fn hints(&mut self, hints: Vec<Spanned<Hint>>) {
        for entry in hints {
            let Hint { tenant, context, exten, hint } = entry.get_ref();
            if exten.get_ref().starts_with('_') {
                self.error(exten, "a pattern belongs into [[pattern]]");
                continue;
            }
            let Some((tenants, template)) = self.parts(tenant.as_ref(), &entry, hint) else {
                continue;
            };
            for tenant in tenants {
                let hint = template.instantiate(context, exten.get_ref());
                let dialplan = &mut self.draft.core.dialplan;
                let result = dialplan.add_hint(tenant, context, exten.get_ref(), hint);
                self.dialplan(exten, result);
            }
        }
    }

    pub(super) fn ranges(&mut self, ranges: Vec<Spanned<HintRange>>) {
        for entry in ranges {
            let HintRange { tenant, context, range, hint } = entry.get_ref();
            let Some((tenants, template)) = self.parts(tenant.as_ref(), &entry, hint) else {
                continue;
            };
            let (first, last) = match split_range(range.get_ref()) {
                Ok((first, last)) => (Arc::<str>::from(first), Arc::<str>::from(last)),
                Err(error) => {
                    self.dialplan(range, Err(error.into()));
                    continue;
                }
            };
            for tenant in tenants {
                let (first, last) = (Arc::clone(&first), Arc::clone(&last));
                let hints = dialplan::HintRange { first, last, template: template.clone() };
                let result = self.draft.core.dialplan.add_range(tenant, context, hints);
                self.dialplan(range, result);
            }
        }
    }

    pub(super) fn patterns(&mut self, patterns: Vec<Spanned<Pattern>>) {
        for entry in patterns {
            let Pattern { tenant, context, pattern, hint } = entry.get_ref();
            let Some((tenants, template)) = self.parts(tenant.as_ref(), &entry, hint) else {
                continue;
            };
            for tenant in tenants {
                let (dialplan, template) = (&mut self.draft.core.dialplan, template.clone());
                let result = dialplan.add_pattern(tenant, context, pattern.get_ref(), template);
                self.dialplan(pattern, result);
            }
        }
    }

    /// Tenants and template of an entry; what is wrong with them is reported.
    fn parts<T>(
        &mut self,
        tenant: Option<&Spanned<String>>,
        entry: &Spanned<T>,
        hint: &Spanned<String>,
    ) -> Option<(Vec<TenantId>, Template)> {
        let tenants = self.tenants_of(tenant, entry);
        let mut origin = self.source.place(hint);
        origin.column = 0;
        match Template::parse(hint.get_ref(), &Globals::new(), &origin.to_string()) {
            Ok(template) => Some((tenants, template)),
            Err(error) => {
                self.error(hint, error.to_string());
                None
            }
        }
    }

    fn dialplan<T>(&mut self, value: &Spanned<T>, result: Result<(), DialplanError>) {
        let place = self.source.place(value);
        self.draft.dialplan(&place, false, result);
    }
}

/// How a tenant shows publications, if the file says so.
fn publications(tenant: &Tenant) -> Option<config::Publications> {
    let Tenant { publications, watch_unhinted: unhinted, call_details, .. } = *tenant;
    if publications.is_none() && call_details.is_none() && !unhinted {
        return None;
    }
    let combination = publications.map(Combination::from).unwrap_or_default();
    let call_details = call_details.map(CallDetails::from).unwrap_or_default();
    Some(config::Publications { combination, unhinted, call_details })
}

/// What an authority may have: names, addresses, IPv6 in brackets, a port.
fn is_host_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '[' | ']' | ':')
}

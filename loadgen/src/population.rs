//! Who watches what, as arithmetic: a million edges of lists cost no memory here.
//!
//! Extensions come in tenants of equal size. A list belongs to an extension or to a tenant; its
//! members are the extensions of that tenant, from its owner on and round. With as many members
//! as the tenant has extensions that is the full mesh of an office.

/// What is watched, and by how many.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Population {
    /// Extensions altogether.
    pub extension_count: usize,
    /// Extensions of a tenant.
    pub tenant_size: usize,
    /// Resource lists, if any.
    pub lists: Option<Lists>,
    /// Watchers of single extensions.
    pub single_count: usize,
}

/// Resource lists.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lists {
    /// Name of a list, with `{exten}`, `{tenant}` or `{first}`.
    pub name: String,
    /// Whose lists these are.
    pub owner: Owner,
    /// Members of each, inner lists resolved.
    pub member_count: usize,
    /// Watchers of each.
    pub watchers_each: usize,
    /// Members of an inner list, if lists are nested.
    pub nested: Option<usize>,
    /// The list is in the body of the SUBSCRIBE (RFC 5367).
    pub in_request: bool,
    /// Milliseconds in which a server gathers changes: for the configurations we print.
    pub batch_ms: u32,
}

/// Whose lists these are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Owner {
    /// One for each extension.
    Extension,
    /// One for each tenant.
    Tenant,
}

/// What one watcher subscribes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Watched {
    /// The extension with this number.
    Single(u32),
    /// The list with this number.
    List(u32),
}

impl Population {
    /// Lists there are.
    pub fn list_count(&self) -> usize {
        match &self.lists {
            None => 0,
            Some(Lists { owner: Owner::Extension, .. }) => self.extension_count,
            Some(Lists { owner: Owner::Tenant, .. }) => self.extension_count / self.tenant_size,
        }
    }

    /// Watchers of lists.
    pub fn list_watcher_count(&self) -> usize {
        self.list_count() * self.lists.as_ref().map_or(0, |lists| lists.watchers_each)
    }

    /// Watchers altogether.
    pub fn watcher_count(&self) -> usize {
        self.single_count + self.list_watcher_count()
    }

    /// Pairs of watcher and extension.
    pub fn edge_count(&self) -> usize {
        let members = self.lists.as_ref().map_or(0, |lists| lists.member_count);
        self.single_count + self.list_watcher_count() * members
    }

    /// What watcher `index` watches; both kinds are spread evenly over the indexes.
    pub fn watched(&self, index: usize) -> Watched {
        let (lists, all) = (self.list_watcher_count() as u128, self.watcher_count() as u128);
        let before = (index as u128 * lists / all.max(1)) as usize;
        let after = ((index as u128 + 1) * lists / all.max(1)) as usize;
        if after > before {
            Watched::List((before % self.list_count()) as u32)
        } else {
            Watched::Single(((index - before) % self.extension_count) as u32)
        }
    }

    /// Extensions behind what is watched.
    pub fn member_count(&self, watched: Watched) -> usize {
        match watched {
            Watched::Single(_) => 1,
            Watched::List(_) => self.lists.as_ref().map_or(0, |lists| lists.member_count),
        }
    }

    /// Extension number `member` of what is watched.
    pub fn member(&self, watched: Watched, member: usize) -> u32 {
        match watched {
            Watched::Single(extension) => extension,
            Watched::List(list) => {
                let (first, owner) = self.owner(list);
                (first + (owner + member) % self.tenant_size) as u32
            }
        }
    }

    /// The place of an extension among the members of a list.
    pub fn place(&self, watched: Watched, extension: u32) -> Option<usize> {
        match watched {
            Watched::Single(watched) => (watched == extension).then_some(0),
            Watched::List(list) => {
                let (first, owner) = self.owner(list);
                let within = (extension as usize).checked_sub(first)?;
                if within >= self.tenant_size {
                    return None;
                }
                let place = (within + self.tenant_size - owner) % self.tenant_size;
                (place < self.member_count(watched)).then_some(place)
            }
        }
    }

    /// The name of what is watched.
    pub fn name(&self, watched: Watched, extensions: &[String]) -> String {
        match (watched, &self.lists) {
            (Watched::List(list), Some(lists)) => {
                let (first, owner) = self.owner(list);
                let tenant = (first / self.tenant_size).to_string();
                lists
                    .name
                    .replace("{exten}", &extensions[first + owner])
                    .replace("{tenant}", &tenant)
                    .replace("{first}", &extensions[first])
            }
            (Watched::Single(extension) | Watched::List(extension), _) => {
                extensions[extension as usize].clone()
            }
        }
    }

    /// The inner lists of a list: their names and the places of their members.
    pub fn inner_lists(&self, name: &str) -> Vec<(String, std::ops::Range<usize>)> {
        let Some(Lists { nested: Some(size), member_count, .. }) = self.lists else {
            return Vec::new();
        };
        let starts = (0..member_count).step_by(size).enumerate();
        starts
            .map(|(number, start)| {
                (format!("{name}-{number}"), start..(start + size).min(member_count))
            })
            .collect()
    }

    /// First extension of a list's tenant, and the owner's place in it.
    fn owner(&self, list: u32) -> (usize, usize) {
        let by_tenant = self.lists.as_ref().is_some_and(|lists| lists.owner == Owner::Tenant);
        if by_tenant {
            return (list as usize * self.tenant_size, 0);
        }
        let owner = list as usize % self.tenant_size;
        (list as usize - owner, owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn population(owner: Owner, member_count: usize, single_count: usize) -> Population {
        let lists = Lists {
            name: "blf-{tenant}-{first}-{exten}".into(),
            owner,
            member_count,
            watchers_each: 2,
            nested: Some(2),
            in_request: false,
            batch_ms: 0,
        };
        Population { extension_count: 12, tenant_size: 4, lists: Some(lists), single_count }
    }

    #[test]
    fn members_are_the_tenant_from_the_owner_on_and_their_places_lead_back() {
        let population = population(Owner::Extension, 3, 0);
        let members = |list| -> Vec<u32> {
            (0..3).map(|member| population.member(Watched::List(list), member)).collect()
        };
        assert_eq!(members(5), [5, 6, 7]);
        assert_eq!(members(7), [7, 4, 5]);
        for extension in 0..12 {
            let place = population.place(Watched::List(7), extension);
            let want = [7, 4, 5].iter().position(|member| *member == extension);
            assert_eq!(place, want, "{extension}");
        }
        let extensions: Vec<String> = (0..12).map(|number| format!("e{number}")).collect();
        assert_eq!(population.name(Watched::List(7), &extensions), "blf-1-e4-e7");
        assert_eq!(population.name(Watched::Single(7), &extensions), "e7");
        assert_eq!(population.inner_lists("x"), [("x-0".into(), 0..2), ("x-1".into(), 2..3)]);
    }

    #[test]
    fn every_list_and_extension_gets_its_watchers_and_both_kinds_are_mixed() {
        for (owner, single_count, lists) in
            [(Owner::Extension, 0, 12), (Owner::Tenant, 30, 3), (Owner::Extension, 12, 12)]
        {
            let population = population(owner, 4, single_count);
            let (mut of_lists, mut of_singles) = (vec![0; lists], vec![0; 12]);
            for index in 0..population.watcher_count() {
                match population.watched(index) {
                    Watched::List(list) => of_lists[list as usize] += 1,
                    Watched::Single(extension) => of_singles[extension as usize] += 1,
                }
            }
            assert_eq!(of_lists, vec![2; lists]);
            assert_eq!(of_singles.iter().sum::<usize>(), single_count);
            assert!(of_singles.iter().max() <= Some(&single_count.div_ceil(12)));
            assert_eq!(population.edge_count(), single_count + lists * 2 * 4);
        }
    }
}

//! Owners that many connections share: one allocation each, so that what is kept of a connection holds a pointer.
//!
//! Bounded at [`limits::MAX_PROCESSES`] processes; one that was forgotten, or shows another name or cgroup, is made anew, and who
//! holds the former keeps it.

use crate::flow::conn::Owner;
use crate::limits;
use crate::recent::Recent;
use std::sync::Arc;

/// By process.
#[derive(Debug)]
pub(super) struct Owners(Recent<u32, Arc<Owner>>);

impl Owners {
    pub(super) fn new() -> Self {
        Self(Recent::new(limits::MAX_PROCESSES))
    }

    /// `owner`, shared with whoever asked for the same before.
    pub(super) fn shared(&mut self, owner: &Owner) -> Arc<Owner> {
        let known = self.0.get_or_put(owner.pid, || Arc::new(*owner));
        if **known != *owner {
            *known = Arc::new(*owner);
        }
        Arc::clone(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_owner_is_one_allocation_until_it_changes() {
        let mut owners = Owners::new();
        let shop = Owner { pid: 7, cgroup_id: 1, comm: *b"shop\0\0\0\0\0\0\0\0\0\0\0\0" };
        let first = owners.shared(&shop);
        assert!(Arc::ptr_eq(&first, &owners.shared(&shop)));
        let moved = owners.shared(&Owner { cgroup_id: 2, ..shop });
        assert_eq!((first.cgroup_id, moved.cgroup_id), (1, 2));
    }
}

//! What the process may do, and giving up what it does not need any more.

use std::ffi::CString;
use std::io;
use std::ptr;

use libc::{c_int, gid_t, passwd, rlimit, uid_t};

use super::check;

/// Bytes of an account's texts at most.
const ACCOUNT_BYTES_MAX: usize = 64 << 10;

/// An account of this machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Account {
    /// The user's number.
    pub user: u32,
    /// Its first group.
    pub group: u32,
}

/// The account of this name; `None` if there is none.
///
/// # Errors
///
/// The accounts cannot be read.
pub fn find_account(name: &str) -> io::Result<Option<Account>> {
    let Ok(name) = CString::new(name) else { return Ok(None) };
    let mut texts = vec![0; 1024];
    loop {
        // SAFETY: integers and pointers; all zeroes is valid.
        let mut entry: passwd = unsafe { std::mem::zeroed() };
        let mut found = ptr::null_mut();
        // SAFETY: all pointers are valid for the call, and `texts` is as long as said.
        let code = unsafe {
            libc::getpwnam_r(
                name.as_ptr(),
                &raw mut entry,
                texts.as_mut_ptr(),
                texts.len(),
                &raw mut found,
            )
        };
        match code {
            0 if found.is_null() => return Ok(None),
            0 => return Ok(Some(Account { user: entry.pw_uid, group: entry.pw_gid })),
            libc::ERANGE if texts.len() < ACCOUNT_BYTES_MAX => texts.resize(texts.len() * 2, 0),
            libc::EINTR => {}
            // What some sources of accounts say instead of "none".
            libc::ENOENT | libc::ESRCH => return Ok(None),
            code => return Err(io::Error::from_raw_os_error(code)),
        }
    }
}

/// Becomes another user for good, with his groups and no other right. One who is that user already
/// changes nothing.
///
/// # Errors
///
/// The kernel's refusal: only root may. Everything or nothing of it may have been done then: the
/// process must not go on.
pub fn become_account(name: &str, account: Account) -> io::Result<()> {
    let Account { user, group } = account;
    // SAFETY: these have no arguments and always succeed.
    let (is_user, is_group) = unsafe {
        let is_user = libc::getuid() == user && libc::geteuid() == user;
        (is_user, libc::getgid() == group && libc::getegid() == group)
    };
    if is_user && is_group {
        return Ok(());
    }
    let name = CString::new(name).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // Groups first: after the user has changed they cannot be.
    // SAFETY: `name` is a text that outlives the call.
    done(unsafe { libc::initgroups(name.as_ptr(), group as gid_t) })?;
    // SAFETY: no pointers are involved. The C library does it for all threads of the process.
    done(unsafe { libc::setresgid(group, group, group) })?;
    // SAFETY: as before.
    done(unsafe { libc::setresuid(user, user, user) })?;
    // SAFETY: as before. It must fail, or nothing was given up.
    let is_root_again = user != 0 && unsafe { libc::setuid(0 as uid_t) } == 0;
    if is_root_again { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
}

/// From now on no program that is started can have more rights than this process.
///
/// # Errors
///
/// The kernel's refusal.
pub fn forbid_new_privileges() -> io::Result<()> {
    let [on, unused]: [libc::c_ulong; 2] = [1, 0];
    // SAFETY: no pointers are involved.
    done(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, on, unused, unused, unused) })
}

/// No memory of this process, which holds secrets, is written to a disk when it crashes.
///
/// # Errors
///
/// The kernel's refusal.
pub fn forbid_core_dumps() -> io::Result<()> {
    // One byte and not none: a core that is piped to a program is written whatever its limit is,
    // but for one byte, by which the kernel knows that a dump is not wanted (core(5)).
    let limit = rlimit { rlim_cur: 1, rlim_max: 1 };
    // SAFETY: `limit` is valid for the call.
    done(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const limit) })
}

/// Files made from now on are their owner's alone.
pub fn keep_files_private() {
    // SAFETY: no pointers are involved; it always succeeds.
    unsafe { libc::umask(0o077) };
}

fn done(returned: c_int) -> io::Result<()> {
    check(returned).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_name() {
        assert_eq!(find_account("root").expect("readable"), Some(Account { user: 0, group: 0 }));
        for name in ["no-such-user", "", "a\0b"] {
            assert_eq!(find_account(name).expect("readable"), None, "{name:?}");
        }
    }

    #[test]
    fn the_same_account_is_no_change() {
        // SAFETY: these have no arguments.
        let account = unsafe { Account { user: libc::getuid(), group: libc::getgid() } };
        become_account("whoever", account).expect("nothing to do");
    }
}

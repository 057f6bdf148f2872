//! How much memory there still is: on the machine, and within the limits that control groups and `ulimit` set.
//!
//! A limit that is met in the middle of a run ends it without a word of use. So whoever is about to take much memory
//! compares it with what is left before.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::numbers::bytes;

/// Of what is left, one part in so many is not given to tensors: code, stacks and readers need some too.
const KEPT_BACK: u64 = 16;

/// What sets an end to the memory of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryLimit {
    /// What the machine has.
    Machine,
    /// The limit of a control group, such as a container's.
    ControlGroup,
    /// The largest address space (`ulimit -v`).
    AddressSpace,
    /// The largest data segment (`ulimit -d`).
    DataSegment,
    /// What a device holds together; all of it may be taken.
    Block,
}

/// Memory that this process can still get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub bytes: u64,
    /// The tightest of the bounds.
    pub bound: MemoryLimit,
}

/// Why something does not run: it needs more memory than there is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Shortage {
    pub what: String,
    pub needed: u64,
    /// What is left; none where the system does not say.
    pub room: Option<Room>,
}

impl From<Shortage> for io::Error {
    fn from(shortage: Shortage) -> io::Error {
        io::Error::new(io::ErrorKind::OutOfMemory, shortage)
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shortage { what, needed, room } = self;
        write!(f, "{what} needs {} of memory, ", bytes(*needed))?;
        match room {
            Some(room) => write!(f, "and {room}"),
            None => f.write_str("more than the system gives"),
        }
    }
}

impl Room {
    /// What is left now; none where the system does not say.
    pub fn now() -> Option<Room> {
        System { root: Path::new("/") }.room()
    }

    /// What there is on the whole, whoever uses it now: the memory of the machine, or the limit if that is less.
    pub fn total() -> Option<Room> {
        System { root: Path::new("/") }.total()
    }

    /// What tensors may take of it.
    pub fn usable(&self) -> u64 {
        match self.bound {
            MemoryLimit::Block => self.bytes,
            _ => self.bytes - self.bytes / KEPT_BACK,
        }
    }

    /// Whether tensors may take so many bytes of it.
    pub fn holds(&self, needed: u64) -> bool {
        needed <= self.usable()
    }

    /// An error where so many bytes for something are more than can be taken of it.
    ///
    /// # Errors
    ///
    /// The shortage.
    pub fn check(&self, what: &str, needed: u64) -> Result<(), Shortage> {
        match self.holds(needed) {
            true => Ok(()),
            false => Err(Shortage { what: what.into(), needed, room: Some(*self) }),
        }
    }
}

/// An error where something needs more memory than is left now.
///
/// # Errors
///
/// The shortage. Where the system does not say what is left, there is none.
pub fn check(what: &str, needed: u64) -> Result<(), Shortage> {
    Room::now().map_or(Ok(()), |room| room.check(what, needed))
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = match self.bound {
            MemoryLimit::Machine => "on this machine",
            MemoryLimit::ControlGroup => "in this control group",
            MemoryLimit::AddressSpace => "of address space (ulimit -v)",
            MemoryLimit::DataSegment => "of data (ulimit -d)",
            MemoryLimit::Block => "in a block of the device's memory",
        };
        write!(f, "there are {} {limit}", bytes(self.bytes))
    }
}

/// What the files of a Linux system say.
struct System<'a> {
    root: &'a Path,
}

/// How the versions of control groups name what they count: the folder, the limit, the use, and the lines of
/// `memory.stat` that count pages which the system gives up where memory is wanted.
struct Names {
    folder: &'static str,
    limit: &'static str,
    used: &'static str,
    files: [&'static str; 2],
}

const FIRST: Names = Names {
    folder: "sys/fs/cgroup/memory",
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    files: ["total_inactive_file", "total_active_file"],
};
const SECOND: Names = Names {
    folder: "sys/fs/cgroup",
    limit: "memory.max",
    used: "memory.current",
    files: ["inactive_file", "active_file"],
};

impl System<'_> {
    fn room(&self) -> Option<Room> {
        let kib = |name| Some(number(&self.read("proc/meminfo")?, name)?.saturating_mul(1024));
        let machine = kib("MemAvailable:").map(|bytes| bytes.saturating_add(kib("SwapFree:").unwrap_or(0)));
        let groups = self
            .groups()
            .into_iter()
            .map(|(limit, used)| (limit.saturating_sub(used), MemoryLimit::ControlGroup));
        let taken = |name| Some(number(&self.read("proc/self/status")?, name)?.saturating_mul(1024));
        let limit = |name, used, bound| Some((self.limit(name)?.saturating_sub(taken(used)?), bound));
        let limits = [
            limit("Max address space", "VmSize:", MemoryLimit::AddressSpace),
            limit("Max data size", "VmData:", MemoryLimit::DataSegment),
        ];
        tightest(
            machine
                .map(|bytes| (bytes, MemoryLimit::Machine))
                .into_iter()
                .chain(groups)
                .chain(limits.into_iter().flatten()),
        )
    }

    fn total(&self) -> Option<Room> {
        let machine = number(&self.read("proc/meminfo")?, "MemTotal:")
            .map(|kib| (kib.saturating_mul(1024), MemoryLimit::Machine));
        let groups = self.groups().into_iter().map(|(limit, _)| (limit, MemoryLimit::ControlGroup));
        let limit = |name, bound| Some((self.limit(name)?, bound));
        let limits = [
            limit("Max address space", MemoryLimit::AddressSpace),
            limit("Max data size", MemoryLimit::DataSegment),
        ];
        tightest(machine.into_iter().chain(groups).chain(limits.into_iter().flatten()))
    }

    /// The limit and the use of each control group that this process is in, without what the system gives up.
    fn groups(&self) -> Vec<(u64, u64)> {
        let mut found = Vec::new();
        for line in self.read("proc/self/cgroup").unwrap_or_default().lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            let names = match controllers {
                "" => &SECOND,
                _ if controllers.split(',').any(|name| name == "memory") => &FIRST,
                _ => continue,
            };
            let base = self.root.join(names.folder);
            // What lies above is limited too. A container may see its own group at the top, and not its path.
            let path: PathBuf = Path::new(path)
                .components()
                .filter(|part| matches!(part, std::path::Component::Normal(_)))
                .collect();
            found.extend(path.ancestors().filter_map(|path| group(&base.join(path), names)));
        }
        found
    }

    /// A soft limit of this process; none where it is unlimited.
    fn limit(&self, name: &str) -> Option<u64> {
        number(&self.read("proc/self/limits")?, name)
    }

    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok()
    }
}

fn tightest(rooms: impl Iterator<Item = (u64, MemoryLimit)>) -> Option<Room> {
    rooms.min_by_key(|(bytes, _)| *bytes).map(|(bytes, bound)| Room { bytes, bound })
}

/// The limit and the use of the control group of a folder; none where it has none.
fn group(folder: &Path, names: &Names) -> Option<(u64, u64)> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let limit: u64 = read(names.limit)?.trim().parse().ok()?;
    let used: u64 = read(names.used)?.trim().parse().ok()?;
    let stat = read("memory.stat").unwrap_or_default();
    let files: u64 = names.files.iter().filter_map(|name| number(&stat, name)).sum();
    Some((limit, used.saturating_sub(files)))
}

/// The number behind a name at the beginning of a line.
fn number(text: &str, name: &str) -> Option<u64> {
    let rests = text.lines().filter_map(|line| line.strip_prefix(name));
    let rest = rests.into_iter().find(|rest| rest.starts_with(char::is_whitespace))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// A system of some files.
    fn room(files: &[(&str, &str)]) -> (Option<Room>, Option<Room>) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let system = System { root: folder.path() };
        (system.room(), system.total())
    }

    const MACHINE: (&str, &str) =
        ("proc/meminfo", "MemTotal:       16777216 kB\nMemAvailable:    8388608 kB\nSwapFree:  1048576 kB\n");
    const STATUS: (&str, &str) = ("proc/self/status", "VmSize:\t 1048576 kB\nVmData:\t  524288 kB\n");

    fn is(found: (Option<Room>, Option<Room>), now: u64, total: u64, bound: MemoryLimit) {
        assert_eq!(found, (Some(Room { bytes: now, bound }), Some(Room { bytes: total, bound })));
    }

    #[test]
    fn a_machine_alone() {
        assert_eq!(room(&[]), (None, None));
        let (now, total) = room(&[MACHINE]);
        assert_eq!(now, Some(Room { bytes: 9 * GIB, bound: MemoryLimit::Machine }));
        assert_eq!(total, Some(Room { bytes: 16 * GIB, bound: MemoryLimit::Machine }));
    }

    #[test]
    fn limits_of_the_process() {
        let limits = |text| ("proc/self/limits", text);
        let unlimited = "Max data size             unlimited            unlimited            bytes\n";
        is(room(&[MACHINE, STATUS, limits(unlimited)]), 9 * GIB, 16 * GIB, MemoryLimit::Machine);
        let space = "Max address space         3221225472           unlimited            bytes\n";
        is(room(&[MACHINE, STATUS, limits(space)]), 2 * GIB, 3 * GIB, MemoryLimit::AddressSpace);
        let data = "Max data size             1073741824           unlimited            bytes\n";
        is(room(&[MACHINE, STATUS, limits(data)]), GIB / 2, GIB, MemoryLimit::DataSegment);
    }

    #[test]
    fn control_groups() {
        let second = [
            MACHINE,
            ("proc/self/cgroup", "0::/a/b\n"),
            ("sys/fs/cgroup/a/memory.max", "4294967296\n"),
            ("sys/fs/cgroup/a/memory.current", "3221225472\n"),
            ("sys/fs/cgroup/a/memory.stat", "anon 5\ninactive_file 1073741824\nactive_file 1073741824\n"),
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("sys/fs/cgroup/a/b/memory.current", "1\n"),
        ];
        is(room(&second), 3 * GIB, 4 * GIB, MemoryLimit::ControlGroup);
        // A container's own group is at the top of what it sees.
        let first = [
            MACHINE,
            ("proc/self/cgroup", "5:cpu:/x\n4:cpuset,memory:/docker/1\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "2147483648\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1073741824\n"),
        ];
        is(room(&first), GIB, 2 * GIB, MemoryLimit::ControlGroup);
        let unlimited = [
            MACHINE,
            ("proc/self/cgroup", "4:memory:/../x\n"),
            ("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/x/memory.usage_in_bytes", "1073741824\n"),
        ];
        is(room(&unlimited), 9 * GIB, 16 * GIB, MemoryLimit::Machine);
    }

    #[test]
    fn this_system_says_what_is_left() {
        let (now, total) = (Room::now().unwrap(), Room::total().unwrap());
        assert!(now.bytes > 1 << 20 && total.bytes > 1 << 20, "{now:?} {total:?}");
    }

    #[test]
    fn more_than_there_is_is_refused() {
        let room = Room { bytes: 16 * GIB, bound: MemoryLimit::Machine };
        assert!(room.check("x", 15 * GIB).is_ok());
        let error = room.check("a step of batch 64", 16 * GIB).unwrap_err().to_string();
        assert_eq!(
            error,
            "a step of batch 64 needs 16.0 GiB of memory, and there are 16.0 GiB on this machine"
        );
    }
}

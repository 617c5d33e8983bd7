//! Access to devices: lines for v1, and for v2 a program that the kernel asks.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

/// Access to some devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRule {
    /// `None`: character and block devices.
    character: Option<bool>,
    major: Option<u32>,
    minor: Option<u32>,
    /// Some of `r`, `w`, `m`.
    access: String,
}

impl DeviceRule {
    /// Everything.
    pub fn all() -> Self {
        Self { character: None, major: None, minor: None, access: "rwm".to_owned() }
    }

    /// One kind of device. `None` is any number.
    pub fn new(character: bool, major: Option<u32>, minor: Option<u32>, access: &str) -> Self {
        Self { character: Some(character), major, minor, access: access.to_owned() }
    }

    /// In the words of v1: `c 1:3 rwm`, or `a`.
    pub(super) fn line(&self) -> String {
        let number = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
        match self.character {
            None => "a".to_owned(),
            Some(character) => {
                let kind = if character { 'c' } else { 'b' };
                format!("{kind} {}:{} {}", number(self.major), number(self.minor), self.access)
            }
        }
    }

    fn access_bits(&self) -> i32 {
        const MAKE: i32 = 1;
        const READ: i32 = 2;
        const WRITE: i32 = 4;
        let bit = |c: char, bit: i32| if self.access.contains(c) { bit } else { 0 };
        bit('m', MAKE) | bit('r', READ) | bit('w', WRITE)
    }
}

/// One instruction of the kernel's virtual machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    value: i32,
}

// The instructions that are needed: `r[to] = *(u32 *)(r[from] + offset)` and the like.
const LOAD_WORD: u8 = 0x61;
const COPY_32: u8 = 0xbc;
const AND_32: u8 = 0x54;
const SHIFT_RIGHT_32: u8 = 0x74;
const SET_64: u8 = 0xb7;
const JUMP_NOT_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

/// The program that answers 1 for what a rule allows, and else 0. The kernel passes type and wanted access, major and
/// minor.
fn program(rules: &[DeviceRule]) -> Vec<Instruction> {
    let op = |code, to: u8, from: u8, offset, value| Instruction { code, registers: to | from << 4, offset, value };
    let (answer, context, kind, access, major, minor, left) = (0, 1, 2, 3, 4, 5, 6);
    let mut code = vec![
        op(LOAD_WORD, kind, context, 0, 0),
        op(COPY_32, access, kind, 0, 0),
        op(AND_32, kind, 0, 0, 0xffff),
        op(SHIFT_RIGHT_32, access, 0, 0, 16),
        op(LOAD_WORD, major, context, 4, 0),
        op(LOAD_WORD, minor, context, 8, 0),
    ];
    for rule in rules {
        let mut block = Vec::new();
        if let Some(character) = rule.character {
            block.push(op(JUMP_NOT_EQUAL, kind, 0, 0, if character { 2 } else { 1 }));
        }
        // What is wanted beyond what is allowed must be nothing.
        block.push(op(COPY_32, left, access, 0, 0));
        block.push(op(AND_32, left, 0, 0, !rule.access_bits()));
        block.push(op(JUMP_NOT_EQUAL, left, 0, 0, 0));
        for (register, number) in [(major, rule.major), (minor, rule.minor)] {
            if let Some(number) = number {
                block.push(op(JUMP_NOT_EQUAL, register, 0, 0, number.cast_signed()));
            }
        }
        block.push(op(SET_64, answer, 0, 0, 1));
        block.push(op(EXIT, 0, 0, 0, 0));
        let end = block.len();
        for (at, instruction) in block.iter_mut().enumerate().filter(|(_, i)| i.code == JUMP_NOT_EQUAL) {
            instruction.offset = i16::try_from(end - at - 1).unwrap_or(0);
        }
        code.extend(block);
    }
    code.extend([op(SET_64, answer, 0, 0, 0), op(EXIT, 0, 0, 0, 0)]);
    code
}

/// Lets a v2 group use only the devices that the rules allow. The program lives as long as the group.
pub(super) fn restrict(group: &Path, rules: &[DeviceRule]) -> io::Result<()> {
    const PROG_LOAD: libc::c_long = 5;
    const PROG_ATTACH: libc::c_long = 8;
    const TYPE_CGROUP_DEVICE: u32 = 15;
    const ATTACH_CGROUP_DEVICE: u32 = 6;
    const ALLOW_MULTI: u32 = 2;
    let folder = File::open(group)?;
    let code: Vec<u8> = program(rules).iter().flat_map(|i| i.bytes()).collect();
    let license = c"Apache-2.0";
    let mut load = [0u8; 48];
    load[0..4].copy_from_slice(&TYPE_CGROUP_DEVICE.to_ne_bytes());
    load[4..8].copy_from_slice(&u32::try_from(code.len() / 8).map_err(io::Error::other)?.to_ne_bytes());
    load[8..16].copy_from_slice(&(code.as_ptr() as u64).to_ne_bytes());
    load[16..24].copy_from_slice(&(license.as_ptr() as u64).to_ne_bytes());
    let program = bpf(PROG_LOAD, &load)?;
    let number = i32::try_from(program).map_err(io::Error::other)?;
    // SAFETY: the kernel just gave us this descriptor.
    let program = unsafe { OwnedFd::from_raw_fd(number) };
    let mut attach = [0u8; 48];
    attach[0..4].copy_from_slice(&folder.as_raw_fd().to_ne_bytes());
    attach[4..8].copy_from_slice(&program.as_raw_fd().to_ne_bytes());
    attach[8..12].copy_from_slice(&ATTACH_CGROUP_DEVICE.to_ne_bytes());
    attach[12..16].copy_from_slice(&ALLOW_MULTI.to_ne_bytes());
    bpf(PROG_ATTACH, &attach).map(|_| ())
}

fn bpf(command: libc::c_long, attributes: &[u8; 48]) -> io::Result<libc::c_long> {
    // SAFETY: the attributes have the size that is told, and what they point to outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), attributes.len()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

impl Instruction {
    fn bytes(self) -> [u8; 8] {
        let (offset, value) = (self.offset.to_ne_bytes(), self.value.to_ne_bytes());
        [self.code, self.registers, offset[0], offset[1], value[0], value[1], value[2], value[3]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        assert_eq!(DeviceRule::all().line(), "a");
        assert_eq!(DeviceRule::new(true, Some(1), Some(3), "rw").line(), "c 1:3 rw");
        assert_eq!(DeviceRule::new(false, None, None, "m").line(), "b *:* m");
    }

    #[test]
    fn jumps_skip_exactly_their_rule() {
        let rules = [DeviceRule::new(true, Some(1), Some(3), "rw"), DeviceRule::all()];
        let code = program(&rules);
        let starts: Vec<usize> = code
            .iter()
            .enumerate()
            .filter(|(_, i)| i.code == JUMP_NOT_EQUAL)
            .map(|(at, i)| at + 1 + usize::try_from(i.offset).unwrap())
            .collect();
        // The first rule's four jumps lead to the second rule, whose one leads to the refusal.
        assert_eq!(starts, [14, 14, 14, 14, 19]);
        assert_eq!(code[19], Instruction { code: SET_64, registers: 0, offset: 0, value: 0 });
    }
}

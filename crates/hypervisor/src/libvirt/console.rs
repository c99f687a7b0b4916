//! The console log: a volume that QEMU appends to, read at any offset.

use uuid::Uuid;

use super::error::Outcome;
use super::link::Session;
use super::{machines, names, transfer};
use crate::ConsoleChunk;

pub fn read(session: &Session, machine: Uuid, offset: u64, limit: usize) -> Outcome<ConsoleChunk> {
    let store = session.store()?;
    let Some(log) = store.find(&names::console(machine))? else {
        machines::find(session, machine)?;
        return Ok(ConsoleChunk::default());
    };
    let (_, end) = log.sizes()?;
    let offset = if offset > end { 0 } else { offset };
    let length = (end - offset).min(limit as u64);
    if length == 0 {
        return Ok(ConsoleChunk { offset, bytes: Vec::new(), end });
    }
    let bytes = transfer::read_some(store.read(&log, offset, length)?, length as usize)?;
    Ok(ConsoleChunk { offset, bytes, end })
}

//! Parameters and cells: the four types that both engines share.

use crate::error::{Error, Result};

/// A parameter, borrowed from the caller.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// SQL NULL.
    Null,
    /// BIGINT; booleans are 0 and 1, times are microseconds since 1970.
    Int(i64),
    /// TEXT.
    Text(&'a str),
    /// BLOB or BYTEA.
    Bytes(&'a [u8]),
}

/// An owned value: a row's cell, or a parameter that outlives its caller.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    /// SQL NULL.
    Null,
    /// BIGINT.
    Int(i64),
    /// TEXT.
    Text(String),
    /// BLOB or BYTEA.
    Bytes(Vec<u8>),
}

impl From<&Value<'_>> for Cell {
    fn from(value: &Value<'_>) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Int(n) => Self::Int(*n),
            Value::Text(s) => Self::Text((*s).to_owned()),
            Value::Bytes(b) => Self::Bytes(b.to_vec()),
        }
    }
}

impl<'a> From<&'a Cell> for Value<'a> {
    fn from(cell: &'a Cell) -> Self {
        match cell {
            Cell::Null => Self::Null,
            Cell::Int(n) => Self::Int(*n),
            Cell::Text(s) => Self::Text(s),
            Cell::Bytes(b) => Self::Bytes(b),
        }
    }
}

/// A type that can be a parameter.
pub trait AsValue {
    /// Returns it as a parameter.
    fn value(&self) -> Value<'_>;
}

macro_rules! as_value {
    ($($type:ty => |$v:ident| $value:expr),* $(,)?) => {$(
        impl AsValue for $type {
            fn value(&self) -> Value<'_> { let $v = self; $value }
        }
    )*};
}

as_value! {
    i64 => |v| Value::Int(*v),
    i32 => |v| Value::Int(i64::from(*v)),
    u32 => |v| Value::Int(i64::from(*v)),
    u16 => |v| Value::Int(i64::from(*v)),
    bool => |v| Value::Int(i64::from(*v)),
    String => |v| Value::Text(v),
    str => |v| Value::Text(v),
    Vec<u8> => |v| Value::Bytes(v),
    [u8] => |v| Value::Bytes(v),
    Cell => |v| Value::from(v),
}

impl<const N: usize> AsValue for [u8; N] {
    fn value(&self) -> Value<'_> {
        Value::Bytes(self)
    }
}

impl<T: AsValue + ?Sized> AsValue for &T {
    fn value(&self) -> Value<'_> {
        (**self).value()
    }
}

impl<T: AsValue> AsValue for Option<T> {
    fn value(&self) -> Value<'_> {
        self.as_ref().map_or(Value::Null, AsValue::value)
    }
}

/// `params![a, b]`: takes each expression by reference as a [`Value`].
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => { &[$($crate::AsValue::value(&$value)),*] };
}

/// One row of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub(crate) cells: Vec<Cell>,
}

/// A type that a cell can be read as.
pub trait FromCell: Sized {
    /// The type's name in error messages.
    const EXPECTED: &'static str;
    /// Converts the cell, or returns `None` if it has another type.
    fn from_cell(cell: Cell) -> Option<Self>;
}

impl FromCell for i64 {
    const EXPECTED: &'static str = "an integer";
    fn from_cell(cell: Cell) -> Option<Self> {
        if let Cell::Int(n) = cell { Some(n) } else { None }
    }
}

impl FromCell for bool {
    const EXPECTED: &'static str = "0 or 1";
    fn from_cell(cell: Cell) -> Option<Self> {
        if let Cell::Int(n) = cell { Some(n != 0) } else { None }
    }
}

impl FromCell for u64 {
    const EXPECTED: &'static str = "an integer that is not negative";
    fn from_cell(cell: Cell) -> Option<Self> {
        if let Cell::Int(n) = cell { u64::try_from(n).ok() } else { None }
    }
}

impl FromCell for u32 {
    const EXPECTED: &'static str = "an integer of 32 bits";
    fn from_cell(cell: Cell) -> Option<Self> {
        if let Cell::Int(n) = cell { u32::try_from(n).ok() } else { None }
    }
}

impl FromCell for String {
    const EXPECTED: &'static str = "text";
    fn from_cell(cell: Cell) -> Option<Self> {
        if let Cell::Text(s) = cell { Some(s) } else { None }
    }
}

impl FromCell for Vec<u8> {
    const EXPECTED: &'static str = "bytes";
    fn from_cell(cell: Cell) -> Option<Self> {
        if let Cell::Bytes(b) = cell { Some(b) } else { None }
    }
}

impl<T: FromCell> FromCell for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;
    fn from_cell(cell: Cell) -> Option<Self> {
        match cell {
            Cell::Null => Some(None),
            other => T::from_cell(other).map(Some),
        }
    }
}

impl Row {
    /// Takes column `column` (from 0) out of the row. Taking the same column again finds NULL.
    ///
    /// # Errors
    /// [`Error::Type`] when the cell has another type or there is no such column.
    pub fn take<T: FromCell>(&mut self, column: usize) -> Result<T> {
        let cell = self.cells.get_mut(column).map(|cell| std::mem::replace(cell, Cell::Null));
        cell.and_then(T::from_cell).ok_or(Error::Type { column, expected: T::EXPECTED })
    }

    /// Returns a copy of column `column`, from 0.
    ///
    /// # Errors
    /// Same as [`Row::take`].
    pub fn get<T: FromCell>(&self, column: usize) -> Result<T> {
        let cell = self.cells.get(column).cloned();
        cell.and_then(T::from_cell).ok_or(Error::Type { column, expected: T::EXPECTED })
    }
}

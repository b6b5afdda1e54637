//! JSON as bytes: a one-pass scanner, a view of values that read themselves, what values say whatever their spelling, and
//! a writer.

mod digest;
mod same;
mod scan;
mod spelling;
mod value;
mod words;
mod write;

pub(crate) use digest::{Items, Members, digested, name};
pub(crate) use same::{any_member, same_values};
pub(crate) use scan::{Kind, Scanner, Syntax, Token, skip_bom};
pub(crate) use value::{Raw, bytes_of, string_of, unescape};
pub(crate) use write::Writer;

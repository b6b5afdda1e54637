//! JSON as bytes: a one-pass scanner, a view of values that read themselves, and a writer.

mod scan;
mod value;
mod write;

pub(crate) use scan::{Kind, Scanner, Syntax, Token, skip_bom};
pub(crate) use value::{Raw, unescape};
pub(crate) use write::Writer;

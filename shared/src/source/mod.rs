//! What an import reads: which objects in which versions, and what their heads say.

pub mod completed;
pub mod inspect;
pub mod resolve;

//! `POST /uploads` and `POST /uploads/{id}/complete`: links for one object of a declared size, and whether it came.

mod complete;
mod declare;
mod rules;

pub(crate) use complete::complete;
pub(crate) use declare::declare;

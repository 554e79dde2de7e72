//! The firmware's tables: those of real machines, those made by hand, and hostile ones.
#![allow(clippy::cast_possible_truncation)] // small numbers throughout

mod built;
mod hostile;
mod image;
mod lists;
mod made;
mod real;
mod rules;

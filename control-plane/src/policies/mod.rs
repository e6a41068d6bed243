//! Policies while they run: their modules for whoever has to fetch them, and what becomes of candidates.

pub mod modules;
pub mod reports;
pub mod trials;

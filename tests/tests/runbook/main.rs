//! Runbooks: the rules of plans, how runs go, and what is left of one that was killed.

mod crash;
mod fake_site;
mod fence;
mod half;
mod people;
mod rules;
mod runs;
mod world;

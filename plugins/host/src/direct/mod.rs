//! The direct path (being built).

pub(crate) mod shape;

use crate::{
    budget::Budget,
    endpoints::EndpointView,
    fault::Fault,
    guard::Guard,
    plan::RawPlan,
    request::{RawDecision, Report, Request},
    settings::About,
};

pub(crate) enum DirectModule {}
pub(crate) enum DirectInstance {}

impl DirectModule {
    pub(crate) fn instantiate(&self, _: &mut Guard, _: Budget) -> Result<DirectInstance, Fault> {
        match *self {}
    }
}
impl DirectInstance {
    pub(crate) fn init(&self, _: &mut Guard, _: Budget, _: &str, _: &About) -> Result<Result<RawPlan, String>, Fault> {
        match *self {}
    }
    pub(crate) fn update(&self, _: &mut Guard, _: Budget, _: (u64, u64), _: &[EndpointView<'_>]) -> Result<Result<(), String>, Fault> {
        match *self {}
    }
    pub(crate) fn pick(&self, _: &mut Guard, _: Budget, _: &Request) -> Result<RawDecision, Fault> {
        match *self {}
    }
    pub(crate) fn completed(&self, _: &mut Guard, _: Budget, _: &Report) -> Result<(), Fault> {
        match *self {}
    }
}

//! Brings a plan into the kernel, by whichever of its tools there is.

use std::{collections::BTreeSet, fmt, path::Path};

use wasmesh_core::{
    capture::{IptablesTable, Jump, Plan, RefuseSet, TABLE, restore_text},
    service::Family,
};

use super::{
    options::BackendChoice,
    program::{NFT, Program, ProgramError},
};

/// There is none where the kernel has no IPv6 at all.
const IPV6: &str = "/proc/self/net/if_inet6";

/// The kernel's interface that rules went into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// nftables.
    Nftables,
    /// iptables of whichever kind the system prefers.
    Iptables,
    /// iptables over the interface that it had before nf_tables.
    IptablesLegacy,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
            Self::IptablesLegacy => "iptables-legacy",
        })
    }
}

/// Why backends did not do it: what each of those that were tried said.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.list())]
pub struct BackendError(Vec<(Backend, ProgramError)>);

impl BackendError {
    fn list(&self) -> String {
        let tried: Vec<_> = self.0.iter().map(|(backend, error)| format!("{backend}: {error}")).collect();
        tried.join("\n")
    }
}

/// Rules that are in the kernel.
pub struct Rules {
    plan: Plan,
    backend: Backend,
    passed_over: Option<BackendError>,
}

impl Rules {
    /// Installs a plan by the first backend that takes it. Rules of an earlier plan are replaced: by nftables in one
    /// step, by iptables one family after the other.
    ///
    /// # Errors
    /// When none takes it. What was there before is then as it was, but for an IPv6 half that iptables lacks: then
    /// nothing is redirected.
    pub fn install(plan: &Plan, choice: BackendChoice, refused: &RefuseSet) -> Result<Self, BackendError> {
        let mut tried = Vec::new();
        for &backend in candidates(choice) {
            match backend.install(plan, refused) {
                Ok(()) => {
                    let passed_over = (!tried.is_empty()).then_some(BackendError(tried));
                    return Ok(Self { plan: plan.clone(), backend, passed_over });
                }
                Err(error) => {
                    let hopeless = error.is_denied();
                    tried.push((backend, error));
                    if hopeless {
                        break;
                    }
                }
            }
        }
        Err(BackendError(tried))
    }

    /// Where they are.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Why they are not where they would better be, if a backend had to be passed over.
    pub fn passed_over(&self) -> Option<&BackendError> {
        self.passed_over.as_ref()
    }

    /// Makes these the refused destinations; all of the rules are installed anew if somebody has removed them.
    ///
    /// # Errors
    /// When the kernel does not take them; what was refused before still is.
    pub fn refuse(&self, refused: &RefuseSet) -> Result<(), ProgramError> {
        let changed = match self.backend {
            Backend::Nftables => NFT.run(&["-f", "-"], &self.plan.nftables_refuse(refused)),
            Backend::Iptables | Backend::IptablesLegacy => self.families().try_for_each(|family| {
                let tables = [self.plan.iptables_refuse(family, refused)];
                self.backend.restore(family, &tables)
            }),
        };
        changed.or_else(|_| self.backend.install(&self.plan, refused))
    }

    /// Stops redirecting; what is open stays open.
    ///
    /// # Errors
    /// When the kernel does not let us.
    pub fn drain(&self) -> Result<(), ProgramError> {
        self.backend.drain()
    }

    fn families(&self) -> impl Iterator<Item = Family> {
        families().filter(|family| self.plan.covers(*family))
    }
}

/// Drains whatever is installed, by whichever backend; tells by which.
///
/// # Errors
/// When the kernel does not let us.
pub fn drain(choice: BackendChoice) -> Result<Vec<Backend>, BackendError> {
    let mut drained = Vec::new();
    for &backend in candidates(choice).iter().filter(|backend| backend.is_installed()) {
        backend.drain().map_err(|error| BackendError(vec![(backend, error)]))?;
        drained.push(backend);
    }
    Ok(drained)
}

fn candidates(choice: BackendChoice) -> &'static [Backend] {
    match choice {
        BackendChoice::Auto => &[Backend::Nftables, Backend::Iptables, Backend::IptablesLegacy],
        BackendChoice::Nftables => &[Backend::Nftables],
        BackendChoice::Iptables => &[Backend::Iptables, Backend::IptablesLegacy],
    }
}

impl Backend {
    fn install(self, plan: &Plan, refused: &RefuseSet) -> Result<(), ProgramError> {
        if self == Self::Nftables {
            return NFT.run(&["-f", "-"], &plan.nftables(refused));
        }
        self.restore(Family::V4, &plan.iptables(Family::V4, refused))?;
        match self.restore(Family::V6, &plan.iptables(Family::V6, refused)) {
            Err(error) if plan.covers(Family::V6) && has_ipv6() => {
                // Half a plan is worse than none: the families of one Service would behave differently.
                let _ = self.drain();
                Err(error)
            }
            _ => Ok(()),
        }
    }

    fn drain(self) -> Result<(), ProgramError> {
        if self == Self::Nftables {
            return NFT.run(&["-f", "-"], &Plan::nftables_drained());
        }
        let mut installed = families().filter(|family| self.has_redirection(*family));
        installed.try_for_each(|family| self.restore(family, &Plan::iptables_drained()))
    }

    fn is_installed(self) -> bool {
        match self {
            Self::Nftables => NFT.run(&["list", "table", "inet", TABLE], "").is_ok(),
            Self::Iptables | Self::IptablesLegacy => families().any(|family| self.has_redirection(family)),
        }
    }

    fn has_redirection(self, family: Family) -> bool {
        Jump::ALL.iter().any(|jump| jump.table == "nat" && self.has(family, jump))
    }

    fn has(self, family: Family, jump: &Jump) -> bool {
        self.iptables(family).run(&["-w", "5", "-t", jump.table, "-C", jump.from, "-j", jump.to], "").is_ok()
    }

    fn restore(self, family: Family, tables: &[IptablesTable]) -> Result<(), ProgramError> {
        let present: BTreeSet<Jump> = Jump::ALL.into_iter().filter(|jump| self.has(family, jump)).collect();
        self.iptables_restore(family).run(&["--noflush", "-w", "5"], &restore_text(tables, &present))
    }

    fn iptables(self, family: Family) -> Program {
        let name = match (self, family) {
            (Self::IptablesLegacy, Family::V4) => "iptables-legacy",
            (Self::IptablesLegacy, Family::V6) => "ip6tables-legacy",
            (_, Family::V4) => "iptables",
            (_, Family::V6) => "ip6tables",
        };
        Program { name, package: "iptables" }
    }

    fn iptables_restore(self, family: Family) -> Program {
        let name = match (self, family) {
            (Self::IptablesLegacy, Family::V4) => "iptables-legacy-restore",
            (Self::IptablesLegacy, Family::V6) => "ip6tables-legacy-restore",
            (_, Family::V4) => "iptables-restore",
            (_, Family::V6) => "ip6tables-restore",
        };
        Program { name, package: "iptables" }
    }
}

fn families() -> impl Iterator<Item = Family> {
    [Family::V4, Family::V6].into_iter()
}

fn has_ipv6() -> bool {
    Path::new(IPV6).exists()
}

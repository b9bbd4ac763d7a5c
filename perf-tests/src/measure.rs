//! What is measured, and where it is read: processes (`process`), kernel programs (`programs`), the agent's own counters
//! (`counts`).

pub mod counts;
pub mod process;
pub mod programs;

use serde::{Deserialize, Serialize};

/// Declares the measures: variant, name in files, unit, which way is worse (`more`, `less`, or `neither`), what it is.
macro_rules! measures {
    ($($variant:ident $name:literal $unit:literal $worse:ident $what:literal;)*) => {
        /// A quantity of a round. Its name in `report.json` and `case.toml` is [`Measure::name`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Measure {
            $(#[doc = $what] #[serde(rename = $name)] $variant,)*
        }

        impl Measure {
            /// All of them, in the order of reports.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name in files.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Its unit.
            #[must_use]
            pub fn unit(self) -> &'static str {
                match self { $(Self::$variant => $unit,)* }
            }

            /// Which way hurts.
            #[must_use]
            pub fn worse(self) -> Worse {
                match self { $(Self::$variant => Worse::$worse,)* }
            }

            /// What it is, for people.
            #[must_use]
            pub fn say(self) -> &'static str {
                match self { $(Self::$variant => $what,)* }
            }
        }
    };
}

/// Which way of a measure hurts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worse {
    /// More is worse.
    More,
    /// Less is worse.
    Less,
    /// Neither.
    Neither,
}

measures! {
    Rate "requests_per_second" "1/s" Less "requests a second at saturation";
    ServerUs "server_us" "us" More "server CPU a request";
    AgentUs "agent_us" "us" More "agent CPU a request";
    AgentCpu "agent_cpu_percent" "%" More "agent CPU at saturation, of a processor";
    GovernedCpu "governed_cpu_percent" "%" More "agent and kernel programs at the end of the load, as the governor sees it, of a processor";
    GovernorStep "governor_step" "" More "steps that the governor is down at the end of the load";
    SamplingRatio "sampling_ratio" "" Less "share of the connections followed at the end of the load";
    SteadyRate "steady_per_second" "1/s" Less "requests answered a second at the fixed rate, until the last answer";
    P50 "p50_us" "us" More "latency at the fixed rate, p50";
    P99 "p99_us" "us" More "latency at the fixed rate, p99";
    P999 "p999_us" "us" More "latency at the fixed rate, p99.9";
    FileReadNs "file_read_ns" "ns" More "uninvolved process: read of 4 kB of a file";
    GetppidNs "getppid_ns" "ns" More "uninvolved process: getppid";
    ReadyMs "ready_ms" "ms" More "start until ready";
    Resident "resident_kib" "KiB" More "agent memory, resident";
    Anonymous "anonymous_kib" "KiB" More "agent memory, anonymous";
    Peak "peak_kib" "KiB" More "agent memory, most ever resident";
    Slope "slope_kib_per_minute" "KiB/min" More "agent memory, slope";
    Binary "binary_mib" "MiB" More "agent program file";
    Wakeups "wakeups_per_second" "1/s" More "agent wake-ups, nothing happening";
    IdleCpu "idle_cpu_percent" "%" More "agent CPU, nothing happening, of a processor";
    Series "series" "" Neither "traffic series shown";
    Events "events" "" Neither "records of the kernel read";
    Lost "events_lost" "" More "events lost, all reasons";
    CaptureRatio "capture_ratio" "" Less "share of the exchanges reported";
    Operations "operations_per_request" "" Neither "socket operations a request, ends watched";
    ProgramNs "program_ns" "ns" More "kernel programs, a run, as the kernel measures";
    ProgramNetNs "program_net_ns" "ns" More "kernel programs, a run, measuring subtracted";
    OperationNs "operation_ns" "ns" More "kernel programs, an operation of any socket, watched or excluded, measuring subtracted";
    ProgramUs "program_us" "us" More "kernel programs, a request, measuring subtracted";
    MeasuringNs "measuring_ns" "ns" Neither "what measuring a run adds to it";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_files_say() {
        for measure in Measure::ALL {
            let text = serde_json::to_string(measure).unwrap();
            assert_eq!(text, format!("\"{}\"", measure.name()));
        }
    }
}
